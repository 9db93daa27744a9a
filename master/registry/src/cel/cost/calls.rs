//! What calls cost: operators and functions of the language, and of Kubernetes' libraries (apiserver
//! `pkg/cel/library/cost.go`, cel-go's `ext`).

use super::path::Path;
use super::sizes::Sizes;
use super::{LIST_COST, PATTERN_FACTOR, Size, TEXT_FACTOR, by_factor};
use crate::cel::types::Type;

/// The longest pattern that a format stands for, and the longest format.
const FORMAT_PATTERN_MAX: f64 = 128.0;
const FORMAT_MAX: u64 = 64;
/// What asking who may do something costs.
const QUESTION_COST: u64 = 350_000;
/// Each requirement that a selector's text may hold takes two letters, and a list and an object.
const REQUIREMENTS_A_LETTER: f64 = 0.5;
const REQUIREMENT_COST: f64 = 50.0;

/// What is called on, or with.
#[derive(Debug)]
pub(super) struct Operand<'t, 'a> {
    pub(super) kind: &'t Type<'a>,
    /// A number that is written out.
    pub(super) literal: Option<i64>,
    pub(super) path: Option<Path>,
    pub(super) size: Option<Size>,
}

/// What a call costs at most, and how large its value is, if that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) cost: u64,
    pub(super) result: Option<Size>,
}

impl Cost {
    fn of(cost: u64) -> Self {
        Self { cost, result: None }
    }

    fn sized(cost: u64, result: Size) -> Self {
        Self { cost, result: Some(result) }
    }
}

/// Which of the functions of a name; those that cost alike are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    AddList,
    AddText,
    And,
    Bytes,
    Choice,
    Compare,
    Contains,
    Equal,
    Flatten,
    Format,
    InList,
    IndexList,
    IndexMap,
    Matches,
    /// Which costs the same whatever it is called with.
    Plain,
    Prefix,
    Reverse,
    Sets(u8),
    Slice,
    SortText,
    Sort,
    Distinct,
    Text,
}

fn open(kind: &Type<'_>) -> bool {
    matches!(kind, Type::Dyn)
}

fn text(kind: &Type<'_>) -> bool {
    matches!(kind, Type::Text | Type::Bytes)
}

fn list(kind: &Type<'_>) -> bool {
    matches!(kind, Type::List(_))
}

/// The functions that a call may turn out to be, by what is known of its operands.
pub(super) fn overloads(
    name: &str,
    target: Option<&Operand<'_, '_>>,
    arguments: &[Operand<'_, '_>],
) -> Vec<Overload> {
    use Overload as O;
    let some = |candidates: &[(O, bool)]| {
        let fits = candidates.iter().filter(|(_, fits)| *fits);
        fits.map(|(overload, _)| *overload).collect::<Vec<_>>()
    };
    let one = |overload| vec![overload];
    let on = target.map(|target| target.kind);
    match (name, on, arguments) {
        ("_&&_" | "_||_", _, _) => one(O::And),
        ("_?_:_", _, [_, _, _]) => one(O::Choice),
        ("_==_" | "_!=_", _, [_, _]) => one(O::Equal),
        ("_<_" | "_<=_" | "_>_" | "_>=_", _, [left, right]) => {
            let (left, right) = (left.kind, right.kind);
            let either_text = text(left) || text(right);
            let both_open = open(left) && open(right);
            some(&[(O::Compare, either_text || both_open), (O::Plain, !either_text)])
        }
        ("_+_", _, [left, right]) => {
            let (left, right) = (left.kind, right.kind);
            let both_open = open(left) && open(right);
            let (is_text, is_list) = (text(left) || text(right), list(left) || list(right));
            some(&[
                (O::AddText, is_text || both_open),
                (O::Plain, !is_text && !is_list),
                (O::AddList, is_list || both_open),
            ])
        }
        ("@in", _, [_, of]) => {
            let is_open = open(of.kind);
            let is_list = list(of.kind);
            some(&[(O::InList, is_list || is_open), (O::Plain, !is_list)])
        }
        ("_[_]", _, [of, _]) => {
            let is_open = open(of.kind);
            let (is_list, is_map) = (list(of.kind), matches!(of.kind, Type::Map(_)));
            some(&[
                (O::IndexList, is_list || is_open),
                (O::IndexMap, is_map || is_open),
                (O::Plain, !is_list && !is_map),
            ])
        }
        ("matches", Some(_), [_]) => one(O::Matches),
        ("contains", Some(_), [_]) => one(O::Contains),
        ("startsWith" | "endsWith", Some(_), [_]) => one(O::Prefix),
        ("format", Some(_), [_]) => one(O::Format),
        ("bytes", None, [of]) => some(&[
            (O::Plain, !matches!(of.kind, Type::Text)),
            (O::Bytes, text(of.kind) || open(of.kind)),
        ]),
        ("string", None, [of]) => {
            let is_bytes = matches!(of.kind, Type::Bytes);
            some(&[(O::Plain, !is_bytes), (O::Text, is_bytes || open(of.kind))])
        }
        ("slice", Some(_), [_, _]) => one(O::Slice),
        ("flatten", Some(_), _) => one(O::Flatten),
        ("reverse", Some(of), []) if !text(of) => one(O::Reverse),
        ("distinct", Some(_), []) => one(O::Distinct),
        ("sort", Some(of), []) => {
            let item = match of {
                Type::List(item) => &**item,
                _ => &Type::Dyn,
            };
            some(&[(O::SortText, text(item) || open(item)), (O::Sort, !text(item))])
        }
        ("sets.contains" | "sets.intersects", None, [_, _]) => one(O::Sets(1)),
        ("sets.equivalent", None, [_, _]) => one(O::Sets(2)),
        _ => one(O::Plain),
    }
}

/// What one of the functions costs, its arguments included, but not what it is called on.
pub(super) fn cost(
    sizes: &Sizes,
    (name, overload): (&str, Overload),
    target: Option<&Operand<'_, '_>>,
    arguments: &[Operand<'_, '_>],
    costs: &[u64],
) -> Cost {
    let sum = || costs.iter().fold(0, |sum: u64, cost| sum.saturating_add(*cost));
    let call = Call { sizes, target, arguments };
    let found = call
        .of_lists(overload)
        .or_else(|| call.of_libraries(name))
        .unwrap_or_else(|| call.of_language(overload, costs));
    let own = match overload {
        // Of these not all arguments are looked at.
        Overload::And | Overload::Choice => 0,
        _ => sum(),
    };
    Cost { cost: found.cost.saturating_add(own), ..found }
}

/// How large something is at most, by its path.
pub(super) fn size_at(sizes: &Sizes, path: Option<&Path>) -> Option<Size> {
    let steps = path?.steps();
    let max = sizes.at(steps.iter().map(AsRef::as_ref))?;
    Some(Size { min: 0, max })
}

struct Call<'c, 't, 'a> {
    sizes: &'c Sizes,
    target: Option<&'c Operand<'t, 'a>>,
    arguments: &'c [Operand<'t, 'a>],
}

impl Call<'_, '_, '_> {
    fn size(&self, of: &Operand<'_, '_>) -> Size {
        of.size.or_else(|| size_at(self.sizes, of.path.as_ref())).unwrap_or(Size::UNKNOWN)
    }

    fn on(&self) -> Option<Size> {
        self.target.map(|target| self.size(target))
    }

    fn argument(&self, at: usize) -> Option<Size> {
        self.arguments.get(at).map(|argument| self.size(argument))
    }

    /// How large an item of a list may be (or what else the value holds); `None` for what holds nothing.
    fn item(&self, of: &Operand<'_, '_>) -> Option<(bool, Size)> {
        let item = match of.kind {
            Type::List(item) | Type::Optional(item) => &**item,
            Type::Map(_) => &Type::Text,
            _ => return None,
        };
        let is_text = matches!(item, Type::Text | Type::Bytes);
        let path = of.path.as_ref().map(Path::steps);
        let size = path.and_then(|steps| {
            let steps = steps.iter().map(AsRef::as_ref).chain(["@items"]);
            self.sizes.at(steps).map(|max| Size { min: 0, max })
        });
        Some((is_text, size.unwrap_or(Size::UNKNOWN)))
    }

    /// cel-go's own functions of lists and sets.
    fn of_lists(&self, overload: Overload) -> Option<Cost> {
        let listed = |factor: f64, size: Size| {
            let cost = size.cost(factor).saturating_add(1).saturating_add(LIST_COST);
            Cost::sized(cost, size)
        };
        let number = |at: usize, otherwise: u64| match self.arguments.get(at).map(|it| it.literal) {
            Some(Some(number)) => u64::try_from(number).unwrap_or(0),
            _ => otherwise,
        };
        let on = || self.on().unwrap_or(Size::UNKNOWN);
        Some(match overload {
            Overload::Slice => {
                let size = number(1, on().max).wrapping_sub(number(0, 0));
                listed(1.0, Size::exactly(size))
            }
            Overload::Flatten => {
                let depth = if self.arguments.is_empty() { 1 } else { number(0, u64::MAX) };
                listed(depth as f64, on())
            }
            Overload::Reverse => listed(1.0, on()),
            Overload::Distinct | Overload::Sort => listed(2.0, on().times(on())),
            Overload::SortText => listed(2.0 + TEXT_FACTOR, on().times(on())),
            Overload::Sets(times) => {
                let both = self.argument(0)?.times(self.argument(1)?);
                Cost::of(both.cost(f64::from(times)).saturating_add(1))
            }
            _ => return None,
        })
    }

    /// What Kubernetes says of its functions, by their names.
    #[expect(clippy::too_many_lines, reason = "a flat match over names")]
    fn of_libraries(&self, name: &str) -> Option<Cost> {
        Some(match name {
            "check" => Cost::of(QUESTION_COST),
            "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery" => Cost::of(1),
            "fieldSelector" | "labelSelector" => {
                let size = self.argument(0)?;
                let requirements = by_factor(size.cost(REQUIREMENTS_A_LETTER), REQUIREMENT_COST);
                Cost::of(
                    LIST_COST.saturating_add(size.cost(TEXT_FACTOR)).saturating_add(requirements),
                )
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => self.traversal()?,
            "url" | "jsonpatch.escapeKey" => {
                let size = self.argument(0)?;
                Cost::sized(size.cost(TEXT_FACTOR), size)
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                let size = self.on()?;
                Cost::sized(size.cost(TEXT_FACTOR), size)
            }
            "replace" => self.replaced()?,
            "split" => self.split()?,
            "join" => self.joined()?,
            "find" | "findAll" => {
                let size = self.on()?;
                let pattern = self.argument(0)?.cost(PATTERN_FACTOR);
                let text = size.plus(Size::exactly(1)).cost(TEXT_FACTOR);
                Cost::sized(text.saturating_mul(pattern), Size { min: 0, max: size.max })
            }
            // An address of a range is a field of it.
            "ip" if self.target.is_some() => Cost::of(1),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver"
            | "isSemver" => Cost::of(self.argument(0)?.cost(TEXT_FACTOR)),
            "ip.isCanonical" => Cost::of(self.argument(0)?.cost(2.0 * TEXT_FACTOR)),
            "containsIP" | "containsCIDR" => self.contained(name == "containsCIDR")?,
            "validate" => {
                let text = self.argument(0)?.cost(TEXT_FACTOR);
                Cost::of(by_factor(text, FORMAT_PATTERN_MAX * PATTERN_FACTOR))
            }
            "_==_" => self.equal()?,
            _ => return None,
        })
    }

    /// Each item is looked at once, and texts among them are read.
    fn traversal(&self) -> Option<Cost> {
        let target = self.target?;
        let size = self.size(target);
        let Some((is_text, item)) = self.item(target) else {
            return Some(Cost::of(size.cost(TEXT_FACTOR)));
        };
        let each = if is_text { item.cost(TEXT_FACTOR).saturating_add(1) } else { 1 };
        Some(Cost::of(size.max.saturating_mul(each)))
    }

    fn replaced(&self) -> Option<Cost> {
        let (text, of, by) = (self.on()?, self.argument(0)?, self.argument(1)?);
        let parts = |text: u64, part: u64| (text as f64 / part as f64).ceil() as u64;
        let (most, left_max) = match of.min {
            0 => (text.max.saturating_add(1), text.max),
            least if by.max <= least => (0, text.max),
            least => (parts(text.max, least), 0),
        };
        let (least, left_min) = match of.max {
            0 => (text.min.saturating_add(1), text.min),
            most if most <= by.min => (0, text.min),
            most => (parts(text.min, most), 0),
        };
        let count = Size { min: least, max: most };
        let size = count.times(by).plus(Size { min: left_min, max: left_max });
        Some(Cost::sized(text.cost(2.0 * TEXT_FACTOR), size))
    }

    fn split(&self) -> Option<Cost> {
        let size = self.on()?;
        let bound = self.arguments.get(1).and_then(|argument| argument.literal);
        let max = bound.map_or(size.max, i64::cast_unsigned);
        Some(Cost::sized(size.cost(2.0 * TEXT_FACTOR), Size { min: 0, max }))
    }

    fn joined(&self) -> Option<Cost> {
        let target = self.target?;
        let count = self.size(target);
        let mut size = match self.item(target) {
            Some((_, item)) => count.times(item),
            None => Size::exactly(0),
        };
        if let Some(between) = self.argument(0) {
            let gaps = Size { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
            size = size.plus(between.times(gaps));
        }
        Some(Cost::sized(size.cost(TEXT_FACTOR), size))
    }

    /// Bytes of addresses are compared; what is a text is read before.
    fn contained(&self, is_range: bool) -> Option<Cost> {
        const ADDRESS: Size = Size { min: 4, max: 16 };
        let other = self.arguments.first()?;
        let mut cost = ADDRESS.plus(ADDRESS).cost(TEXT_FACTOR);
        if is_range {
            cost += ADDRESS.cost(TEXT_FACTOR) + 1;
        }
        if matches!(other.kind, Type::Text | Type::Dyn) {
            cost = cost.saturating_add(self.size(other).cost(TEXT_FACTOR));
        }
        Some(Cost::of(cost))
    }

    /// Of what texts were made into, two are compared at once.
    fn equal(&self) -> Option<Cost> {
        let [left, right] = self.arguments else { return None };
        Some(Cost::of(match (left.kind, right.kind) {
            (Type::Ip, Type::Ip)
            | (Type::Cidr, Type::Cidr)
            | (Type::Quantity, Type::Quantity)
            | (Type::Version, Type::Version)
            | (Type::Authorizer, Type::Authorizer)
            | (Type::PathCheck, Type::PathCheck)
            | (Type::GroupCheck, Type::GroupCheck)
            | (Type::ResourceCheck, Type::ResourceCheck)
            | (Type::Decision, Type::Decision) => 1,
            (Type::Format, Type::Format) => by_factor(FORMAT_MAX, TEXT_FACTOR),
            (Type::Url, Type::Url) => by_factor(right.size.map_or(1, |size| size.max), TEXT_FACTOR),
            _ => return None,
        }))
    }

    fn of_language(&self, overload: Overload, costs: &[u64]) -> Cost {
        let argument = |at: usize| self.argument(at).unwrap_or(Size::UNKNOWN);
        let on = || self.on().unwrap_or(Size::UNKNOWN);
        match overload {
            Overload::Format => Cost::of(on().cost(TEXT_FACTOR)),
            Overload::Bytes => {
                let size = argument(0);
                let result = Size { min: size.min, max: size.max.wrapping_mul(4) };
                Cost::sized(size.cost(TEXT_FACTOR), result)
            }
            Overload::Text => {
                let size = argument(0);
                Cost::sized(size.cost(TEXT_FACTOR), Size { min: size.min / 4, max: size.max })
            }
            Overload::Prefix => Cost::of(argument(0).cost(TEXT_FACTOR)),
            Overload::InList => Cost::of(argument(1).cost(1.0)),
            Overload::Matches => {
                // One more, as a pattern may be costly on an empty text.
                let text = on().plus(Size::exactly(1)).cost(TEXT_FACTOR);
                Cost::of(text.saturating_mul(argument(0).cost(PATTERN_FACTOR)))
            }
            Overload::Contains => {
                let text = on().cost(TEXT_FACTOR);
                Cost::of(text.saturating_mul(argument(0).cost(TEXT_FACTOR)))
            }
            Overload::And => {
                Cost::of(costs.iter().fold(0, |sum: u64, cost| sum.saturating_add(*cost)))
            }
            Overload::Choice => {
                let [condition, yes, no] = costs else { return Cost::of(u64::MAX) };
                let cost = condition.saturating_add(*yes.max(no));
                Cost::sized(cost, argument(1).or(argument(2)))
            }
            Overload::AddList => Cost::sized(1, argument(0).plus(argument(1))),
            Overload::AddText => {
                let size = argument(0).plus(argument(1));
                Cost::sized(size.cost(TEXT_FACTOR), size)
            }
            Overload::Compare | Overload::Equal => {
                let least = argument(0).max.min(argument(1).max);
                Cost::of(by_factor(least, TEXT_FACTOR))
            }
            _ => Cost::of(1),
        }
    }
}

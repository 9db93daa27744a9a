//! Which functions there are, of what, and what they give: one list for the checker.

use super::types::Type;

/// What a function takes at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum P {
    Any,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    List,
    Texts,
    Map,
    Duration,
    Time,
    Quantity,
    Url,
    Ip,
    Cidr,
    Version,
    Format,
    Optional,
    Authorizer,
    PathCheck,
    GroupCheck,
    ResourceCheck,
    Decision,
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum R {
    Is(P),
    /// An item of its first argument.
    Item,
    /// The type of its first argument.
    Same,
    /// What its first argument may hold.
    Held,
    /// That its second argument may be there.
    Maybe,
    /// This, if there is one.
    Perhaps(P),
    /// Lists in the first argument's list, as one.
    Flat,
    Type,
    Dyn,
}

use P::{
    Any, Authorizer, Bool, Bytes, Cidr, Decision, Double, Duration, Format, GroupCheck, Int, Ip,
    List, Map, Optional, PathCheck, Quantity, ResourceCheck, Text, Texts, Time, Uint, Url, Version,
};

/// A name, whether it is called on a value, what it takes (the value first), what it gives.
type Signature = (&'static str, bool, &'static [P], R);

const M: bool = true;
const F: bool = false;

#[rustfmt::skip]
const SIGNATURES: &[Signature] = &[
    // Of JSON patches: a key as a step of a path.
    ("jsonpatch.escapeKey", F, &[Text], R::Is(Text)),
    // The language's own.
    ("size", M, &[Text], R::Is(Int)), ("size", M, &[Bytes], R::Is(Int)), ("size", M, &[List], R::Is(Int)), ("size", M, &[Map], R::Is(Int)),
    ("size", F, &[Text], R::Is(Int)), ("size", F, &[Bytes], R::Is(Int)), ("size", F, &[List], R::Is(Int)), ("size", F, &[Map], R::Is(Int)),
    ("int", F, &[Int], R::Is(Int)), ("int", F, &[Uint], R::Is(Int)), ("int", F, &[Double], R::Is(Int)), ("int", F, &[Text], R::Is(Int)), ("int", F, &[Time], R::Is(Int)),
    ("uint", F, &[Int], R::Is(Uint)), ("uint", F, &[Uint], R::Is(Uint)), ("uint", F, &[Double], R::Is(Uint)), ("uint", F, &[Text], R::Is(Uint)),
    ("double", F, &[Int], R::Is(Double)), ("double", F, &[Uint], R::Is(Double)), ("double", F, &[Double], R::Is(Double)), ("double", F, &[Text], R::Is(Double)),
    ("bool", F, &[Bool], R::Is(Bool)), ("bool", F, &[Text], R::Is(Bool)),
    ("string", F, &[Any], R::Is(Text)), ("bytes", F, &[Text], R::Is(Bytes)), ("bytes", F, &[Bytes], R::Is(Bytes)),
    ("type", F, &[Any], R::Type), ("dyn", F, &[Any], R::Dyn),
    ("duration", F, &[Text], R::Is(Duration)), ("duration", F, &[Duration], R::Is(Duration)),
    ("timestamp", F, &[Text], R::Is(Time)), ("timestamp", F, &[Time], R::Is(Time)), ("timestamp", F, &[Int], R::Is(Time)),
    ("contains", M, &[Text, Text], R::Is(Bool)), ("startsWith", M, &[Text, Text], R::Is(Bool)), ("endsWith", M, &[Text, Text], R::Is(Bool)),
    ("matches", M, &[Text, Text], R::Is(Bool)), ("matches", F, &[Text, Text], R::Is(Bool)),
    ("getFullYear", M, &[Time], R::Is(Int)), ("getMonth", M, &[Time], R::Is(Int)), ("getDate", M, &[Time], R::Is(Int)),
    ("getDayOfMonth", M, &[Time], R::Is(Int)), ("getDayOfWeek", M, &[Time], R::Is(Int)), ("getDayOfYear", M, &[Time], R::Is(Int)),
    ("getHours", M, &[Time], R::Is(Int)), ("getMinutes", M, &[Time], R::Is(Int)), ("getSeconds", M, &[Time], R::Is(Int)), ("getMilliseconds", M, &[Time], R::Is(Int)),
    ("getFullYear", M, &[Time, Text], R::Is(Int)), ("getMonth", M, &[Time, Text], R::Is(Int)), ("getDate", M, &[Time, Text], R::Is(Int)),
    ("getDayOfMonth", M, &[Time, Text], R::Is(Int)), ("getDayOfWeek", M, &[Time, Text], R::Is(Int)), ("getDayOfYear", M, &[Time, Text], R::Is(Int)),
    ("getHours", M, &[Time, Text], R::Is(Int)), ("getMinutes", M, &[Time, Text], R::Is(Int)), ("getSeconds", M, &[Time, Text], R::Is(Int)), ("getMilliseconds", M, &[Time, Text], R::Is(Int)),
    ("getHours", M, &[Duration], R::Is(Int)), ("getMinutes", M, &[Duration], R::Is(Int)), ("getSeconds", M, &[Duration], R::Is(Int)), ("getMilliseconds", M, &[Duration], R::Is(Int)),
    // Text.
    ("charAt", M, &[Text, Int], R::Is(Text)), ("indexOf", M, &[Text, Text], R::Is(Int)), ("indexOf", M, &[Text, Text, Int], R::Is(Int)),
    ("lastIndexOf", M, &[Text, Text], R::Is(Int)), ("lastIndexOf", M, &[Text, Text, Int], R::Is(Int)),
    ("join", M, &[Texts], R::Is(Text)), ("join", M, &[Texts, Text], R::Is(Text)),
    ("lowerAscii", M, &[Text], R::Is(Text)), ("upperAscii", M, &[Text], R::Is(Text)), ("trim", M, &[Text], R::Is(Text)), ("reverse", M, &[Text], R::Is(Text)),
    ("replace", M, &[Text, Text, Text], R::Is(Text)), ("replace", M, &[Text, Text, Text, Int], R::Is(Text)),
    ("split", M, &[Text, Text], R::Is(Texts)), ("split", M, &[Text, Text, Int], R::Is(Texts)),
    ("substring", M, &[Text, Int], R::Is(Text)), ("substring", M, &[Text, Int, Int], R::Is(Text)),
    ("format", M, &[Text, List], R::Is(Text)),
    ("find", M, &[Text, Text], R::Is(Text)), ("findAll", M, &[Text, Text], R::Is(Texts)), ("findAll", M, &[Text, Text, Int], R::Is(Texts)),
    // Lists.
    ("isSorted", M, &[List], R::Is(Bool)), ("sum", M, &[List], R::Item), ("min", M, &[List], R::Item), ("max", M, &[List], R::Item),
    ("indexOf", M, &[List, Any], R::Is(Int)), ("lastIndexOf", M, &[List, Any], R::Is(Int)),
    ("distinct", M, &[List], R::Same), ("reverse", M, &[List], R::Same), ("sort", M, &[List], R::Same),
    ("slice", M, &[List, Int, Int], R::Same), ("flatten", M, &[List], R::Flat),
    ("first", M, &[List], R::Maybe), ("last", M, &[List], R::Maybe),
    ("sets.contains", F, &[List, List], R::Is(Bool)), ("sets.equivalent", F, &[List, List], R::Is(Bool)), ("sets.intersects", F, &[List, List], R::Is(Bool)),
    // Amounts.
    ("quantity", F, &[Text], R::Is(Quantity)), ("isQuantity", F, &[Text], R::Is(Bool)),
    ("sign", F, &[Quantity], R::Is(Int)), ("isInteger", M, &[Quantity], R::Is(Bool)), ("asInteger", M, &[Quantity], R::Is(Int)), ("asApproximateFloat", M, &[Quantity], R::Is(Double)),
    ("isGreaterThan", M, &[Quantity, Quantity], R::Is(Bool)), ("isLessThan", M, &[Quantity, Quantity], R::Is(Bool)), ("compareTo", M, &[Quantity, Quantity], R::Is(Int)),
    ("add", M, &[Quantity, Quantity], R::Is(Quantity)), ("add", M, &[Quantity, Int], R::Is(Quantity)),
    ("sub", M, &[Quantity, Quantity], R::Is(Quantity)), ("sub", M, &[Quantity, Int], R::Is(Quantity)),
    // Addresses.
    ("url", F, &[Text], R::Is(Url)), ("isURL", F, &[Text], R::Is(Bool)),
    ("getScheme", M, &[Url], R::Is(Text)), ("getHost", M, &[Url], R::Is(Text)), ("getHostname", M, &[Url], R::Is(Text)), ("getPort", M, &[Url], R::Is(Text)),
    ("getEscapedPath", M, &[Url], R::Is(Text)), ("getQuery", M, &[Url], R::Is(Map)),
    ("ip", F, &[Text], R::Is(Ip)), ("isIP", F, &[Text], R::Is(Bool)), ("ip.isCanonical", F, &[Text], R::Is(Bool)),
    ("family", M, &[Ip], R::Is(Int)), ("isUnspecified", M, &[Ip], R::Is(Bool)), ("isLoopback", M, &[Ip], R::Is(Bool)), ("isGlobalUnicast", M, &[Ip], R::Is(Bool)),
    ("isLinkLocalMulticast", M, &[Ip], R::Is(Bool)), ("isLinkLocalUnicast", M, &[Ip], R::Is(Bool)),
    ("cidr", F, &[Text], R::Is(Cidr)), ("isCIDR", F, &[Text], R::Is(Bool)),
    ("containsIP", M, &[Cidr, Ip], R::Is(Bool)), ("containsIP", M, &[Cidr, Text], R::Is(Bool)),
    ("containsCIDR", M, &[Cidr, Cidr], R::Is(Bool)), ("containsCIDR", M, &[Cidr, Text], R::Is(Bool)),
    ("ip", M, &[Cidr], R::Is(Ip)), ("masked", M, &[Cidr], R::Is(Cidr)), ("prefixLength", M, &[Cidr], R::Is(Int)),
    // Versions.
    ("semver", F, &[Text], R::Is(Version)), ("semver", F, &[Text, Bool], R::Is(Version)), ("isSemver", F, &[Text], R::Is(Bool)), ("isSemver", F, &[Text, Bool], R::Is(Bool)),
    ("major", M, &[Version], R::Is(Int)), ("minor", M, &[Version], R::Is(Int)), ("patch", M, &[Version], R::Is(Int)),
    ("isGreaterThan", M, &[Version, Version], R::Is(Bool)), ("isLessThan", M, &[Version, Version], R::Is(Bool)), ("compareTo", M, &[Version, Version], R::Is(Int)),
    // Formats.
    ("format.named", F, &[Text], R::Perhaps(Format)), ("validate", M, &[Format, Text], R::Perhaps(Texts)),
    ("format.dns1123Label", F, &[], R::Is(Format)), ("format.dns1123Subdomain", F, &[], R::Is(Format)), ("format.dns1035Label", F, &[], R::Is(Format)),
    ("format.dns1123LabelPrefix", F, &[], R::Is(Format)), ("format.dns1123SubdomainPrefix", F, &[], R::Is(Format)), ("format.dns1035LabelPrefix", F, &[], R::Is(Format)),
    ("format.qualifiedName", F, &[], R::Is(Format)), ("format.labelValue", F, &[], R::Is(Format)), ("format.uri", F, &[], R::Is(Format)), ("format.uuid", F, &[], R::Is(Format)),
    ("format.byte", F, &[], R::Is(Format)), ("format.date", F, &[], R::Is(Format)), ("format.datetime", F, &[], R::Is(Format)),
    // Who may do what.
    ("path", M, &[Authorizer, Text], R::Is(PathCheck)), ("group", M, &[Authorizer, Text], R::Is(GroupCheck)), ("serviceAccount", M, &[Authorizer, Text, Text], R::Is(Authorizer)),
    ("resource", M, &[GroupCheck, Text], R::Is(ResourceCheck)), ("subresource", M, &[ResourceCheck, Text], R::Is(ResourceCheck)), ("namespace", M, &[ResourceCheck, Text], R::Is(ResourceCheck)),
    ("name", M, &[ResourceCheck, Text], R::Is(ResourceCheck)), ("fieldSelector", M, &[ResourceCheck, Text], R::Is(ResourceCheck)), ("labelSelector", M, &[ResourceCheck, Text], R::Is(ResourceCheck)),
    ("check", M, &[PathCheck, Text], R::Is(Decision)), ("check", M, &[ResourceCheck, Text], R::Is(Decision)),
    ("allowed", M, &[Decision], R::Is(Bool)), ("reason", M, &[Decision], R::Is(Text)), ("errored", M, &[Decision], R::Is(Bool)), ("error", M, &[Decision], R::Is(Text)),
    // What may be absent.
    ("optional.of", F, &[Any], R::Maybe), ("optional.ofNonZeroValue", F, &[Any], R::Maybe), ("optional.none", F, &[], R::Is(Optional)),
    ("hasValue", M, &[Optional], R::Is(Bool)), ("value", M, &[Optional], R::Held), ("orValue", M, &[Optional, Any], R::Held), ("or", M, &[Optional, Optional], R::Same),
];

impl P {
    fn as_type<'a>(self) -> Type<'a> {
        match self {
            Any => Type::Dyn,
            Bool => Type::Bool,
            Int => Type::Int,
            Uint => Type::Uint,
            Double => Type::Double,
            Text => Type::Text,
            Bytes => Type::Bytes,
            List => Type::list(Type::Dyn),
            Texts => Type::list(Type::Text),
            Map => Type::Map(Box::default()),
            Duration => Type::Duration,
            Time => Type::Timestamp,
            Quantity => Type::Quantity,
            Url => Type::Url,
            Ip => Type::Ip,
            Cidr => Type::Cidr,
            Version => Type::Version,
            Format => Type::Format,
            Optional => Type::Optional(Box::default()),
            Authorizer => Type::Authorizer,
            PathCheck => Type::PathCheck,
            GroupCheck => Type::GroupCheck,
            ResourceCheck => Type::ResourceCheck,
            Decision => Type::Decision,
        }
    }
}

/// What a call gives.
pub(super) enum Found<'a> {
    Gives(Type<'a>),
    /// There is no function of this name.
    Unknown,
    /// There is, but not for these arguments.
    Otherwise,
}

/// Looks a call up; the value that a method is called on is the first argument.
pub(super) fn find<'a>(name: &str, is_method: bool, arguments: &[Type<'a>]) -> Found<'a> {
    let mut found = Found::Unknown;
    let mut results: Option<Type<'a>> = None;
    for (known, method, takes, gives) in SIGNATURES {
        if *known != name {
            continue;
        }
        found = Found::Otherwise;
        let fits = takes.len() == arguments.len()
            && takes.iter().zip(arguments).all(|(takes, is)| is.fits(&takes.as_type()));
        if *method == is_method && fits {
            let given = gives.of(arguments);
            // With an argument of unknown type several fit, and may give different things.
            results = Some(match results {
                Some(other) => other.join(given),
                None => given,
            });
        }
    }
    results.map_or(found, Found::Gives)
}

/// Whether there is a function of this name, such as `sets.contains`.
pub(super) fn is_known(name: &str) -> bool {
    SIGNATURES.iter().any(|(known, ..)| *known == name)
}

impl R {
    fn of<'a>(self, arguments: &[Type<'a>]) -> Type<'a> {
        let first = || arguments.first().cloned().unwrap_or_default();
        let item = |of: Type<'a>| match of {
            Type::List(item) => *item,
            _ => Type::Dyn,
        };
        match self {
            Self::Is(kind) => kind.as_type(),
            Self::Item => item(first()),
            Self::Same => first(),
            Self::Held => match first() {
                Type::Optional(held) => *held,
                _ => Type::Dyn,
            },
            Self::Maybe => Type::Optional(Box::new(match first() {
                Type::List(item) => *item,
                other => other,
            })),
            Self::Perhaps(kind) => Type::Optional(Box::new(kind.as_type())),
            Self::Flat => match item(first()) {
                inner @ Type::List(_) => inner,
                _ => first(),
            },
            Self::Type => Type::Type,
            Self::Dyn => Type::Dyn,
        }
    }
}

//! An expression as cel-go sees it after its macros: loops with an accumulator, calls by name, a number for each node.

use std::collections::BTreeMap;

use crate::cel::ast::{Expr, Literal, Macro, Node};
use crate::cel::signatures;
use crate::cel::types::Type;

/// What loops collect in.
const RESULT: &str = "@result";

/// A node, its number, and the type of its value.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) id: usize,
    pub(super) kind: Type<'a>,
    pub(super) form: Form<'a>,
}

#[derive(Debug)]
pub(super) enum Form<'a> {
    /// With its size, and its value if it is a number.
    Literal(u64, Option<i64>),
    Name(String),
    Field(Box<Tree<'a>>, String),
    /// Whether a field is there.
    Has(Box<Tree<'a>>),
    Call(String, Option<Box<Tree<'a>>>, Vec<Tree<'a>>),
    List(Vec<Tree<'a>>),
    Map(Vec<(Tree<'a>, Tree<'a>)>),
    Object(Vec<Tree<'a>>),
    Loop(Box<Loop<'a>>),
    /// A name for a value.
    Bind(String, Box<Tree<'a>>, Box<Tree<'a>>),
}

#[derive(Debug)]
pub(super) struct Loop<'a> {
    pub(super) variables: Vec<String>,
    pub(super) range: Tree<'a>,
    pub(super) start: Tree<'a>,
    pub(super) condition: Tree<'a>,
    pub(super) step: Tree<'a>,
    pub(super) result: Tree<'a>,
}

impl Loop<'_> {
    /// The name of what it collects in.
    pub(super) const RESULT: &'static str = RESULT;
}

/// Types by the address of their node.
pub(super) type Kinds<'a> = BTreeMap<usize, Type<'a>>;

/// Nodes of a tree: `a.optMap(x, b)` has all of `a` twice, and so many such steps one after the other would take all memory.
const NODES_MAX: usize = 100_000;

/// The expanded tree, and how many nodes it has; `None` if they are too many.
pub(super) fn expand<'a>(root: &Node, kinds: &Kinds<'a>) -> Option<(Tree<'a>, usize)> {
    let mut expander = Expander { kinds, count: 0 };
    let tree = expander.node(root);
    (expander.count <= NODES_MAX).then_some((tree, expander.count))
}

struct Expander<'k, 'a> {
    kinds: &'k Kinds<'a>,
    count: usize,
}

impl<'a> Expander<'_, 'a> {
    fn tree(&mut self, kind: Type<'a>, form: Form<'a>) -> Tree<'a> {
        self.count += 1;
        Tree { id: self.count - 1, kind, form }
    }

    fn boxed(&mut self, node: &Node) -> Box<Tree<'a>> {
        Box::new(self.node(node))
    }

    fn all(&mut self, nodes: &[Node]) -> Vec<Tree<'a>> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    fn kind(&self, node: &Node) -> Type<'a> {
        self.kinds.get(&std::ptr::from_ref(node).addr()).cloned().unwrap_or_default()
    }

    fn call(&mut self, kind: Type<'a>, name: &str, arguments: Vec<Tree<'a>>) -> Tree<'a> {
        self.tree(kind, Form::Call(name.to_owned(), None, arguments))
    }

    fn name(&mut self, kind: Type<'a>, name: &str) -> Tree<'a> {
        self.tree(kind, Form::Name(name.to_owned()))
    }

    fn bool(&mut self) -> Tree<'a> {
        self.tree(Type::Bool, Form::Literal(1, None))
    }

    fn text(&mut self, text: &str) -> Tree<'a> {
        self.tree(Type::Text, Form::Literal(text.chars().count() as u64, None))
    }

    fn number(&mut self, number: i64) -> Tree<'a> {
        self.tree(Type::Int, Form::Literal(1, Some(number)))
    }

    fn node(&mut self, node: &Node) -> Tree<'a> {
        if self.count > NODES_MAX {
            return self.bool();
        }
        let kind = self.kind(node);
        let form = match &node.expr {
            Expr::Literal(literal) => literal_form(literal),
            Expr::Name(name) => Form::Name(name.clone()),
            Expr::Field { of, name, is_optional: false } => {
                Form::Field(self.boxed(of), name.clone())
            }
            Expr::Field { of, name, is_optional: true } => {
                let arguments = vec![self.node(of), self.text(name)];
                Form::Call("_?._".to_owned(), None, arguments)
            }
            Expr::Has { of, .. } => Form::Has(self.boxed(of)),
            Expr::Index { of, at, is_optional } => {
                let name = if *is_optional { "_[?_]" } else { "_[_]" };
                let arguments = vec![self.node(of), self.node(at)];
                Form::Call(name.to_owned(), None, arguments)
            }
            Expr::Call { name, target, arguments } => {
                self.called(name, target.as_deref(), arguments)
            }
            Expr::List(items) => Form::List(self.all(items)),
            Expr::Map(pairs) => {
                let pair = |(key, value): &(Node, Node)| (self.node(key), self.node(value));
                Form::Map(pairs.iter().map(pair).collect())
            }
            Expr::Message { fields, .. } => {
                Form::Object(fields.iter().map(|field| self.node(&field.value)).collect())
            }
            Expr::Not(of) => Form::Call("!_".to_owned(), None, vec![self.node(of)]),
            Expr::Negative(of) => Form::Call("-_".to_owned(), None, vec![self.node(of)]),
            Expr::Binary(operator, left, right) => {
                let arguments = vec![self.node(left), self.node(right)];
                Form::Call(operator.name().to_owned(), None, arguments)
            }
            Expr::And(left, right) => self.both("_&&_", left, right),
            Expr::Or(left, right) => self.both("_||_", left, right),
            Expr::Choice(condition, yes, no) => {
                let arguments = vec![self.node(condition), self.node(yes), self.node(no)];
                Form::Call("_?_:_".to_owned(), None, arguments)
            }
            Expr::Loop { kind: of, range, variables, condition, result } => {
                let body = (condition.as_deref(), result.as_deref());
                self.looped(*of, (range, &kind), variables, body)
            }
            Expr::OptionalMap { of, variable, result, is_flat } => {
                self.optional(of, variable, (result, &kind), *is_flat)
            }
        };
        self.tree(kind, form)
    }

    fn both(&mut self, name: &str, left: &Node, right: &Node) -> Form<'a> {
        Form::Call(name.to_owned(), None, vec![self.node(left), self.node(right)])
    }

    fn called(&mut self, name: &str, target: Option<&Node>, arguments: &[Node]) -> Form<'a> {
        // `sets.contains(…)` is a function of a family, whose name has no type.
        if let Some(of @ Node { expr: Expr::Name(family), .. }) = target
            && !self.kinds.contains_key(&std::ptr::from_ref(of).addr())
            && signatures::is_known(&format!("{family}.{name}"))
        {
            return Form::Call(format!("{family}.{name}"), None, self.all(arguments));
        }
        let target = target.map(|target| self.boxed(target));
        Form::Call(name.to_owned(), target, self.all(arguments))
    }

    /// `a.optMap(x, f(x))` is `a.hasValue() ? optional.of(f(a.value())) : optional.none()`.
    fn optional(
        &mut self,
        of: &Node,
        variable: &str,
        (result, kind): (&Node, &Type<'a>),
        is_flat: bool,
    ) -> Form<'a> {
        let held = match self.kind(of) {
            Type::Optional(held) => *held,
            _ => Type::Dyn,
        };
        let asked = self.boxed(of);
        let has = self.tree(Type::Bool, Form::Call("hasValue".to_owned(), Some(asked), Vec::new()));
        let target = self.boxed(of);
        let value = self.tree(held, Form::Call("value".to_owned(), Some(target), Vec::new()));
        let result_kind = self.kind(result);
        let result = self.boxed(result);
        let bind = Form::Bind(variable.to_owned(), Box::new(value), result);
        let mut made = self.tree(result_kind, bind);
        if !is_flat {
            made = self.call(kind.clone(), "optional.of", vec![made]);
        }
        let none = self.call(kind.clone(), "optional.none", Vec::new());
        Form::Call("_?_:_".to_owned(), None, vec![has, made, none])
    }

    fn looped(
        &mut self,
        of: Macro,
        (range, kind): (&Node, &Type<'a>),
        variables: &[String],
        (condition, result): (Option<&Node>, Option<&Node>),
    ) -> Form<'a> {
        let collects = matches!(of, Macro::Map | Macro::Filter);
        let kept = match of {
            Macro::All | Macro::Exists => Type::Bool,
            Macro::ExistsOne => Type::Int,
            Macro::Map | Macro::Filter => kind.clone(),
        };
        let range = self.node(range);
        let start = match of {
            Macro::All | Macro::Exists => self.bool(),
            Macro::ExistsOne => self.number(0),
            Macro::Map | Macro::Filter => self.tree(kept.clone(), Form::List(Vec::new())),
        };
        let goes_on = self.goes_on(of);
        let condition = condition.map(|condition| self.node(condition));
        let so_far = |this: &mut Self| this.name(kept.clone(), RESULT);
        let step = match (of, condition) {
            (Macro::All, Some(condition)) => {
                let arguments = vec![so_far(self), condition];
                self.call(Type::Bool, "_&&_", arguments)
            }
            (Macro::Exists, Some(condition)) => {
                let arguments = vec![so_far(self), condition];
                self.call(Type::Bool, "_||_", arguments)
            }
            (_, condition) => {
                let more = match (result, variables.first()) {
                    _ if !collects => self.number(1),
                    (Some(result), _) => self.listed(result, &kept),
                    (None, variable) => {
                        let item = variable.map_or("", String::as_str);
                        let item = self.name(item_of(&kept), item);
                        self.tree(kept.clone(), Form::List(vec![item]))
                    }
                };
                let arguments = vec![so_far(self), more];
                let added = self.call(kept.clone(), "_+_", arguments);
                match condition {
                    None => added,
                    Some(condition) => {
                        let arguments = vec![condition, added, so_far(self)];
                        self.call(kept.clone(), "_?_:_", arguments)
                    }
                }
            }
        };
        let mut end = so_far(self);
        if of == Macro::ExistsOne {
            let one = self.number(1);
            end = self.call(Type::Bool, "_==_", vec![end, one]);
        }
        let variables = variables.to_vec();
        Form::Loop(Box::new(Loop {
            variables,
            range,
            start,
            condition: goes_on,
            step,
            result: end,
        }))
    }

    fn listed(&mut self, result: &Node, kept: &Type<'a>) -> Tree<'a> {
        let result = self.node(result);
        self.tree(kept.clone(), Form::List(vec![result]))
    }

    /// What is asked before each turn.
    fn goes_on(&mut self, of: Macro) -> Tree<'a> {
        const ASKED: &str = "@not_strictly_false";
        match of {
            Macro::All => {
                let so_far = self.name(Type::Bool, RESULT);
                self.call(Type::Bool, ASKED, vec![so_far])
            }
            Macro::Exists => {
                let so_far = self.name(Type::Bool, RESULT);
                let not = self.call(Type::Bool, "!_", vec![so_far]);
                self.call(Type::Bool, ASKED, vec![not])
            }
            Macro::ExistsOne | Macro::Map | Macro::Filter => self.bool(),
        }
    }
}

fn item_of<'a>(list: &Type<'a>) -> Type<'a> {
    match list {
        Type::List(item) => (**item).clone(),
        _ => Type::Dyn,
    }
}

fn literal_form<'a>(literal: &Literal) -> Form<'a> {
    match literal {
        Literal::Text(text) => Form::Literal(text.chars().count() as u64, None),
        Literal::Bytes(bytes) => Form::Literal(bytes.len() as u64, None),
        Literal::Int(number) => Form::Literal(1, Some(*number)),
        Literal::Null | Literal::Bool(_) | Literal::Uint(_) | Literal::Double(_) => {
            Form::Literal(1, None)
        }
    }
}

//! The tree of an expression.

/// An expression and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) expr: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Operators of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Binary {
    /// As cel-go's messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "_+_",
            Self::Subtract => "_-_",
            Self::Multiply => "_*_",
            Self::Divide => "_/_",
            Self::Modulo => "_%_",
            Self::Equal => "_==_",
            Self::Unequal => "_!=_",
            Self::Less => "_<_",
            Self::LessOrEqual => "_<=_",
            Self::Greater => "_>_",
            Self::GreaterOrEqual => "_>=_",
            Self::In => "@in",
        }
    }
}

/// Loops over lists and maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    /// Of the items for which the condition holds.
    Map,
    Filter,
}

/// A field of an object that is made; an optional one is left out if its value is absent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) is_optional: bool,
    pub(super) value: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Literal(Literal),
    Name(String),
    /// `a.b`, `a.?b`
    Field {
        of: Box<Node>,
        name: String,
        is_optional: bool,
    },
    /// `has(a.b)`
    Has {
        of: Box<Node>,
        name: String,
    },
    /// `a[b]`, `a[?b]`
    Index {
        of: Box<Node>,
        at: Box<Node>,
        is_optional: bool,
    },
    /// `f(a)`, `a.f(b)`
    Call {
        name: String,
        target: Option<Box<Node>>,
        arguments: Vec<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// `Object.spec{a: b}`
    Message {
        name: String,
        fields: Vec<Field>,
    },
    Not(Box<Node>),
    Negative(Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    Loop {
        kind: Macro,
        range: Box<Node>,
        /// One: the item or key. Two: index or key, then the value.
        variables: Vec<String>,
        condition: Option<Box<Node>>,
        /// What [`Macro::Map`] makes of each item.
        result: Option<Box<Node>>,
    },
    /// `a.optMap(x, f(x))`; flat if `f` is optional itself.
    OptionalMap {
        of: Box<Node>,
        variable: String,
        result: Box<Node>,
        is_flat: bool,
    },
}

impl Node {
    /// Whether a name is used that the expression does not bind itself.
    pub(super) fn uses(&self, name: &str) -> bool {
        let either = |left: &Self, right: &Self| left.uses(name) || right.uses(name);
        match &self.expr {
            Expr::Literal(_) => false,
            Expr::Name(used) => used == name,
            Expr::Field { of, .. } | Expr::Has { of, .. } => of.uses(name),
            Expr::Index { of, at, .. } => either(of, at),
            Expr::Call { target, arguments, .. } => {
                target.as_ref().is_some_and(|target| target.uses(name))
                    || arguments.iter().any(|argument| argument.uses(name))
            }
            Expr::List(items) => items.iter().any(|item| item.uses(name)),
            Expr::Map(pairs) => pairs.iter().any(|(key, value)| either(key, value)),
            Expr::Message { fields, .. } => fields.iter().any(|field| field.value.uses(name)),
            Expr::Not(of) | Expr::Negative(of) => of.uses(name),
            Expr::Binary(_, left, right) | Expr::And(left, right) | Expr::Or(left, right) => {
                either(left, right)
            }
            Expr::Choice(condition, yes, no) => condition.uses(name) || either(yes, no),
            Expr::Loop { range, variables, condition, result, .. } => {
                let inner = [condition, result];
                let inside = || inner.iter().filter_map(|it| it.as_ref()).any(|it| it.uses(name));
                range.uses(name) || (!variables.iter().any(|bound| bound == name) && inside())
            }
            Expr::OptionalMap { of, variable, result, .. } => {
                of.uses(name) || (variable != name && result.uses(name))
            }
        }
    }
}

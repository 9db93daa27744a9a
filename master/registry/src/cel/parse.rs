//! Tokens as a tree, by recursive descent; macros become loops here.

use super::ast::{Binary, Expr, Field, Literal, Macro, Node};
use super::lex::{Token, tokens};
use super::{KEYWORDS, Problem};

/// How deep expressions may be nested.
const DEPTH_MAX: usize = 200;
/// How many operators and steps an expression may have besides `&&` and `||`, whose tree is flat: each may be a level of
/// the tree, and whoever walks it takes a level of the stack.
const LINKS_MAX: usize = 1_000;

/// What cel-go says may begin an expression.
const AN_EXPRESSION: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    let mut parser = Parser { tokens: tokens(source)?, next: 0, depth: 0, links: 0 };
    let root = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(root),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    links: usize,
}

type Parsed = Result<Node, Problem>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Problem> {
        if self.eat(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn unexpected(&self, expecting: &str) -> Problem {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Name(name) => name.clone(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Int(number) | Token::Uint(number) => number.to_string(),
            Token::Double(number) => number.to_string(),
            Token::Text(text) => format!("{text:?}"),
            Token::Bytes(_) => "bytes".to_owned(),
        };
        // One token too many before the end is told as such.
        let is_last = matches!(self.tokens.get(self.next + 1), Some((_, Token::End)));
        let how = if expecting == "<EOF>" && is_last { "extraneous" } else { "mismatched" };
        let message = format!("Syntax error: {how} input '{shown}' expecting {expecting}");
        Problem::new(self.at(), message)
    }

    /// Counts what makes the tree a level deeper.
    fn link(&mut self) -> Result<(), Problem> {
        self.links += 1;
        if self.links > LINKS_MAX {
            let message = format!("expression recursion limit exceeded: {LINKS_MAX}");
            return Err(Problem::new(self.at(), message));
        }
        Ok(())
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::new(self.at(), "expression recursion limit exceeded: 200"));
        }
        let condition = self.or()?;
        let at = self.at();
        let node = if self.eat("?") {
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.expression()?;
            let expr = Expr::Choice(Box::new(condition), Box::new(yes), Box::new(no));
            Node { at, expr }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn or(&mut self) -> Parsed {
        let (mut operands, mut places) = (vec![self.and()?], Vec::new());
        loop {
            let at = self.at();
            if !self.eat("||") {
                return Ok(balanced(operands, &places, Expr::Or));
            }
            places.push(at);
            operands.push(self.and()?);
        }
    }

    fn and(&mut self) -> Parsed {
        let (mut operands, mut places) = (vec![self.relation()?], Vec::new());
        loop {
            let at = self.at();
            if !self.eat("&&") {
                return Ok(balanced(operands, &places, Expr::And));
            }
            places.push(at);
            operands.push(self.relation()?);
        }
    }

    fn relation(&mut self) -> Parsed {
        const SIGNS: [(&str, Binary); 6] = [
            ("==", Binary::Equal),
            ("!=", Binary::Unequal),
            ("<=", Binary::LessOrEqual),
            (">=", Binary::GreaterOrEqual),
            ("<", Binary::Less),
            (">", Binary::Greater),
        ];
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            let is_in = matches!(self.peek(), Token::Name(name) if name == "in");
            let found = SIGNS.iter().find(|(sign, _)| self.is(sign)).map(|(_, operator)| *operator);
            let Some(operator) = found.or(is_in.then_some(Binary::In)) else { return Ok(left) };
            self.next += 1;
            self.link()?;
            let right = self.sum()?;
            left = binary(at, operator, left, right);
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let at = self.at();
            let operator = match () {
                () if self.eat("+") => Binary::Add,
                () if self.eat("-") => Binary::Subtract,
                () => return Ok(left),
            };
            self.link()?;
            let right = self.product()?;
            left = binary(at, operator, left, right);
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let at = self.at();
            let operator = match () {
                () if self.eat("*") => Binary::Multiply,
                () if self.eat("/") => Binary::Divide,
                () if self.eat("%") => Binary::Modulo,
                () => return Ok(left),
            };
            self.link()?;
            let right = self.unary()?;
            left = binary(at, operator, left, right);
        }
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        let mut count = 0;
        let sign = if self.is("!") { "!" } else { "-" };
        while self.eat(sign) {
            count += 1;
            self.link()?;
        }
        if count == 0 {
            return self.member();
        }
        // The least integer has no positive counterpart.
        if sign == "-"
            && let Token::Int(number) = self.peek()
        {
            let number = *number;
            let negative = i64::try_from(-i128::from(number))
                .map_err(|_| Problem::new(at, "invalid int literal"))?;
            self.next += 1;
            let literal = Node { at, expr: Expr::Literal(Literal::Int(negative)) };
            let node = self.suffixes(literal)?;
            return Ok(repeat(at, sign, count - 1, node));
        }
        let node = self.member()?;
        Ok(repeat(at, sign, count, node))
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut node: Node) -> Parsed {
        loop {
            let at = self.at();
            if [".", ".?", "[", "[?"].iter().any(|sign| self.is(sign)) {
                self.link()?;
            }
            if self.is(".") || self.is(".?") {
                let is_optional = self.is(".?");
                self.next += 1;
                let name = self.name()?;
                let of = Box::new(node);
                let call_at = self.at();
                node = if !is_optional && self.eat("(") {
                    let arguments = self.list(")")?;
                    method(call_at, *of, name, arguments)?
                } else {
                    Node { at, expr: Expr::Field { of, name, is_optional } }
                };
            } else if self.is("[") || self.is("[?") {
                let is_optional = self.is("[?");
                self.next += 1;
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                let of = Box::new(node);
                node = Node { at, expr: Expr::Index { of, at: index, is_optional } };
            } else if self.is("{")
                && let Some(name) = message_name(&node)
            {
                self.next += 1;
                node = self.message(at, name)?;
            } else {
                return Ok(node);
            }
        }
    }

    /// The fields of an object that is made, after its opening brace.
    fn message(&mut self, at: usize, name: String) -> Parsed {
        let mut fields = Vec::new();
        while !self.eat("}") {
            let is_optional = self.eat("?");
            let field = self.name()?;
            self.expect(":")?;
            fields.push(Field { name: field, is_optional, value: self.expression()? });
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Node { at, expr: Expr::Message { name, fields } })
    }

    fn name(&mut self) -> Result<String, Problem> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let token = self.peek().clone();
        let literal = |literal| Ok(Node { at, expr: Expr::Literal(literal) });
        match token {
            Token::End => Err(self.unexpected(AN_EXPRESSION)),
            Token::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                self.next += 1;
                let items = self.list("]")?;
                Ok(Node { at, expr: Expr::List(items) })
            }
            Token::Sign("{") => {
                self.next += 1;
                self.map(at)
            }
            Token::Sign(_) => Err(self.unexpected(AN_EXPRESSION)),
            other => {
                self.next += 1;
                match other {
                    Token::Int(number) => match i64::try_from(number) {
                        Ok(number) => literal(Literal::Int(number)),
                        Err(_) => Err(Problem::new(at, "invalid int literal")),
                    },
                    Token::Uint(number) => literal(Literal::Uint(number)),
                    Token::Double(number) => literal(Literal::Double(number)),
                    Token::Text(text) => literal(Literal::Text(text)),
                    Token::Bytes(bytes) => literal(Literal::Bytes(bytes)),
                    Token::Name(name) => self.named(at, name),
                    Token::Sign(_) | Token::End => unreachable!("answered above"),
                }
            }
        }
    }

    fn named(&mut self, at: usize, name: String) -> Parsed {
        let literal = |literal| Ok(Node { at, expr: Expr::Literal(literal) });
        match name.as_str() {
            "true" => return literal(Literal::Bool(true)),
            "false" => return literal(Literal::Bool(false)),
            "null" => return literal(Literal::Null),
            reserved if KEYWORDS.contains(&reserved) => {
                return Err(Problem::new(at, format!("reserved identifier: {reserved}")));
            }
            _ => {}
        }
        if !self.eat("(") {
            return Ok(Node { at, expr: Expr::Name(name) });
        }
        let mut arguments = self.list(")")?;
        if name == "has" && arguments.len() == 1 {
            let argument = arguments.remove(0);
            return match argument.expr {
                Expr::Field { of, name, is_optional: false } => {
                    Ok(Node { at, expr: Expr::Has { of, name } })
                }
                _ => Err(Problem::new(at, "invalid argument to has() macro")),
            };
        }
        Ok(Node { at, expr: Expr::Call { name, target: None, arguments } })
    }

    fn list(&mut self, end: &'static str) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.expression()?);
            if !self.eat(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut pairs = Vec::new();
        while !self.eat("}") {
            let key = self.expression()?;
            self.expect(":")?;
            pairs.push((key, self.expression()?));
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Node { at, expr: Expr::Map(pairs) })
    }
}

fn binary(at: usize, operator: Binary, left: Node, right: Node) -> Node {
    Node { at, expr: Expr::Binary(operator, Box::new(left), Box::new(right)) }
}

/// Operands with the places of the operators between them, as a tree as flat as it can be.
fn balanced(
    mut operands: Vec<Node>,
    places: &[usize],
    join: fn(Box<Node>, Box<Node>) -> Expr,
) -> Node {
    if operands.len() == 1 {
        return operands.remove(0);
    }
    let half = operands.len().div_ceil(2);
    let right = balanced(operands.split_off(half), &places[half..], join);
    let left = balanced(operands, &places[..half - 1], join);
    Node { at: places[half - 1], expr: join(Box::new(left), Box::new(right)) }
}

fn repeat(at: usize, sign: &str, count: usize, node: Node) -> Node {
    (0..count).fold(node, |node, _| {
        let inner = Box::new(node);
        Node { at, expr: if sign == "!" { Expr::Not(inner) } else { Expr::Negative(inner) } }
    })
}

/// A call on a value: a function, or a macro that loops.
fn method(at: usize, of: Node, name: String, mut arguments: Vec<Node>) -> Parsed {
    let count = arguments.len();
    let kind = match (name.as_str(), count) {
        ("all", 2 | 3) => Macro::All,
        ("exists", 2 | 3) => Macro::Exists,
        ("exists_one" | "existsOne", 2 | 3) => Macro::ExistsOne,
        ("filter", 2) => Macro::Filter,
        ("map", 2 | 3) | ("transformList", 3 | 4) => Macro::Map,
        ("optMap" | "optFlatMap", 2) => {
            let is_flat = name == "optFlatMap";
            let result = Box::new(arguments.remove(1));
            let variable = variable(&arguments[0])?;
            let of = Box::new(of);
            return Ok(Node { at, expr: Expr::OptionalMap { of, variable, result, is_flat } });
        }
        _ => {
            let target = Some(Box::new(of));
            return Ok(Node { at, expr: Expr::Call { name, target, arguments } });
        }
    };
    let has_two = name == "transformList" || (count == 3 && kind != Macro::Map);
    let rest = arguments.split_off(if has_two { 2 } else { 1 });
    let variables: Vec<String> = arguments.iter().map(variable).collect::<Result<_, _>>()?;
    let mut rest = rest.into_iter().map(Box::new);
    let last = rest.next_back();
    let first = rest.next();
    let (condition, result) = match kind {
        Macro::Map => (first, last),
        Macro::All | Macro::Exists | Macro::ExistsOne | Macro::Filter => (last, None),
    };
    let range = Box::new(of);
    Ok(Node { at, expr: Expr::Loop { kind, range, variables, condition, result } })
}

/// The name of a type that objects are made of: `JSONPatch`, `Object` and the paths below it.
fn message_name(node: &Node) -> Option<String> {
    match &node.expr {
        Expr::Name(name) if name == "Object" || name == "JSONPatch" => Some(name.clone()),
        Expr::Field { of, name, is_optional: false } => {
            let of = message_name(of).filter(|of| of != "JSONPatch")?;
            Some(format!("{of}.{name}"))
        }
        _ => None,
    }
}

fn variable(node: &Node) -> Result<String, Problem> {
    match &node.expr {
        Expr::Name(name) => Ok(name.clone()),
        _ => Err(Problem::new(node.at, "argument must be a simple name")),
    }
}

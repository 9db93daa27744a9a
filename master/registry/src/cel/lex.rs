//! An expression's text as tokens.

use super::Problem;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 27] = [
    ".?", "[?", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?",
    ":", ".", ",", "(", ")", "[", "]", "{", "}", "=",
];

/// How long an expression may be, as upstream bounds it.
const LENGTH_MAX: usize = 10_000;

/// Tokens with their places; the last is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, Problem> {
    let text: Vec<char> = source.chars().collect();
    if text.len() > LENGTH_MAX * 4 {
        return Err(Problem::new(0, "the expression is too long"));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let at = lexer.at;
        let token = lexer.next()?;
        let is_end = token == Token::End;
        tokens.push((at, token));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    text: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.text.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        loop {
            if self.peek(0).is_whitespace() {
                self.at += 1;
            } else if self.peek(0) == '/' && self.peek(1) == '/' {
                while self.at < self.text.len() && self.peek(0) != '\n' {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, Problem> {
        let first = self.peek(0);
        if self.at >= self.text.len() {
            return Ok(Token::End);
        }
        if let Some(prefix) = self.text_prefix() {
            return self.quoted(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Token::Name(self.take(|c| c.is_ascii_alphanumeric() || c == '_')));
        }
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        let fits = |sign: &&&str| sign.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == c);
        match SIGNS.iter().find(fits) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(Problem::new(
                self.at,
                format!("Syntax error: token recognition error at: '{first}'"),
            )),
        }
    }

    fn take(&mut self, fits: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.at < self.text.len() && fits(self.peek(0)) {
            self.at += 1;
        }
        self.text[start..self.at].iter().collect()
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let wrong = |what: &str| Problem::new(start, format!("invalid {what} literal"));
        let is_hex = self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X');
        if is_hex {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            let number = u64::from_str_radix(&digits, 16).map_err(|_| wrong("int"))?;
            return Ok(self.with_suffix(number));
        }
        let mut digits = self.take(|c| c.is_ascii_digit());
        let mut is_double = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            is_double = true;
            self.at += 1;
            digits.push('.');
            digits.push_str(&self.take(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), 'e' | 'E') {
            is_double = true;
            self.at += 1;
            digits.push('e');
            if matches!(self.peek(0), '+' | '-') {
                digits.push(self.peek(0));
                self.at += 1;
            }
            digits.push_str(&self.take(|c| c.is_ascii_digit()));
        }
        if is_double {
            return digits.parse().map(Token::Double).map_err(|_| wrong("double"));
        }
        let number = digits.parse().map_err(|_| wrong("int"))?;
        Ok(self.with_suffix(number))
    }

    fn with_suffix(&mut self, number: u64) -> Token {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return Token::Uint(number);
        }
        Token::Int(number)
    }

    /// How many letters stand before the quote of a text, if it is one: `r"`, `b'`.
    fn text_prefix(&self) -> Option<usize> {
        let is_quote = |c: char| c == '"' || c == '\'';
        let is_letter = |c: char| "rRbB".contains(c);
        if is_quote(self.peek(0)) {
            Some(0)
        } else if is_letter(self.peek(0)) && is_quote(self.peek(1)) {
            Some(1)
        } else if is_letter(self.peek(0)) && is_letter(self.peek(1)) && is_quote(self.peek(2)) {
            Some(2)
        } else {
            None
        }
    }

    fn quoted(&mut self, prefix: usize) -> Result<Token, Problem> {
        let start = self.at;
        let letters: String = self.text[self.at..self.at + prefix].iter().collect();
        let letters = letters.to_lowercase();
        let (is_raw, is_bytes) = (letters.contains('r'), letters.contains('b'));
        self.at += prefix;
        let quote = self.peek(0);
        let is_triple = self.peek(1) == quote && self.peek(2) == quote;
        self.at += if is_triple { 3 } else { 1 };
        let mut text = String::new();
        loop {
            let c = self.peek(0);
            if self.at >= self.text.len() || (!is_triple && c == '\n') {
                return Err(Problem::new(start, "Syntax error: unterminated string"));
            }
            if c == quote && (!is_triple || (self.peek(1) == quote && self.peek(2) == quote)) {
                self.at += if is_triple { 3 } else { 1 };
                break;
            }
            self.at += 1;
            match c {
                '\\' if !is_raw => text.push(self.escape()?),
                c => text.push(c),
            }
        }
        if is_bytes {
            // Escapes of bytes above 127 are single bytes.
            let bytes = text.chars().flat_map(|c| match u8::try_from(u32::from(c)) {
                Ok(byte) if byte > 127 => vec![byte],
                _ => c.to_string().into_bytes(),
            });
            return Ok(Token::Bytes(bytes.collect()));
        }
        Ok(Token::Text(text))
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let at = self.at - 1;
        let c = self.peek(0);
        self.at += 1;
        let digits = |lexer: &mut Self, count: usize, radix: u32| {
            let text: String = lexer.text.iter().skip(lexer.at).take(count).collect();
            lexer.at += count;
            let code = u32::from_str_radix(&text, radix).ok().and_then(char::from_u32);
            code.ok_or_else(|| Problem::new(at, "Syntax error: unable to unescape string"))
        };
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '"' | '\'' | '`' | '?' => c,
            'x' | 'X' => digits(self, 2, 16)?,
            'u' => digits(self, 4, 16)?,
            'U' => digits(self, 8, 16)?,
            '0'..='3' => {
                self.at -= 1;
                digits(self, 3, 8)?
            }
            _ => return Err(Problem::new(at, "Syntax error: unable to unescape string")),
        })
    }
}

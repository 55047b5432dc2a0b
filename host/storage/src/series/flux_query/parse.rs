//! Statements and expressions, by recursive descent with a bound on its depth.

use super::syntax::{Comparison, Expr, Node, Statement};
use super::token::{Placed, Token, place, tokens};
use super::unsupported;
use crate::error::{Error, Result};

/// Expressions within each other.
const DEPTH_MAX: usize = 64;

pub(super) fn statements(text: &str) -> Result<Vec<Statement>> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0 };
    let mut found = Vec::new();
    while parser.peek().is_some() {
        if let Some(statement) = parser.statement()? {
            found.push(statement);
        }
    }
    Ok(found)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    fn ahead(&self, by: usize) -> Option<&Token> {
        self.tokens.get(self.at + by).map(|t| &t.token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |t| t.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|t| t.token.clone());
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(s)) if *s == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(n)) if n == word)
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    fn wrong(&self, wanted: &str) -> Error {
        let at = place(self.text, self.place());
        let got = match self.peek() {
            None => "the text ends".to_string(),
            Some(Token::Name(n)) => format!("`{}` stands", n.escape_debug()),
            Some(Token::Sign(s)) => format!("`{s}` stands"),
            Some(_) => "a value stands".to_string(),
        };
        Error::invalid(format!("error @{at}: {got} where {wanted} is expected")).hint(super::SUBSET)
    }

    fn need(&mut self, sign: &str) -> Result<()> {
        if self.takes(sign) { Ok(()) } else { Err(self.wrong(&format!("`{sign}`"))) }
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wrong("a name")),
        }
    }

    fn statement(&mut self) -> Result<Option<Statement>> {
        // What a package has is in no subset, but clients import what they do not use.
        if self.is_word("import") && matches!(self.ahead(1), Some(Token::Text(_) | Token::Name(_))) {
            self.at += 1;
            if matches!(self.peek(), Some(Token::Name(_))) {
                self.at += 1;
            }
            return match self.next() {
                Some(Token::Text(_)) => Ok(None),
                _ => {
                    self.at -= 1;
                    Err(self.wrong("the name of a package"))
                }
            };
        }
        let option = self.is_word("option") && matches!(self.ahead(1), Some(Token::Name(_)));
        self.at += usize::from(option);
        if matches!((self.peek(), self.ahead(1)), (Some(Token::Name(_)), Some(Token::Sign("=")))) {
            let name = self.name()?;
            self.need("=")?;
            return Ok(Some(Statement::Assign { name, value: self.expression()?, option }));
        }
        if option {
            return Err(self.wrong("an assignment"));
        }
        Ok(Some(Statement::Show(self.expression()?)))
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(Error::limit("the depth of the Flux query", DEPTH_MAX, "write it flatter"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Sources with what follows them behind `|>`.
    fn expression(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let source = p.any()?;
            let mut steps = Vec::new();
            while p.takes("|>") {
                steps.push(p.postfix()?);
            }
            let at = source.at;
            Ok(if steps.is_empty() { source } else { Expr { node: Node::Pipe(Box::new(source), steps), at } })
        })
    }

    fn any(&mut self) -> Result<Expr> {
        self.joined("or", Node::Any, Self::all)
    }

    fn all(&mut self) -> Result<Expr> {
        self.joined("and", Node::All, Self::unary)
    }

    fn joined(
        &mut self,
        word: &str,
        node: fn(Vec<Expr>) -> Node,
        parse: fn(&mut Self) -> Result<Expr>,
    ) -> Result<Expr> {
        let first = parse(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let at = first.at;
        let mut parts = vec![first];
        while self.takes_word(word) {
            parts.push(parse(self)?);
        }
        Ok(Expr { node: node(parts), at })
    }

    fn unary(&mut self) -> Result<Expr> {
        let at = self.place();
        let node: fn(Box<Expr>) -> Node = if self.takes_word("not") {
            Node::Not
        } else if self.takes_word("exists") {
            Node::Exists
        } else {
            return self.comparison();
        };
        let of = self.deeper(Self::unary)?;
        Ok(Expr { node: node(Box::new(of)), at })
    }

    fn comparison(&mut self) -> Result<Expr> {
        let left = self.value()?;
        let how = match self.peek() {
            Some(Token::Sign("==")) => Comparison::Equal,
            Some(Token::Sign("!=")) => Comparison::NotEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::LessOrEqual,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
            Some(Token::Sign("=~")) => Comparison::Matches,
            Some(Token::Sign("!~")) => Comparison::MatchesNot,
            Some(Token::Sign(sign @ ("+" | "-" | "*"))) => {
                return Err(unsupported(format!("the operator `{sign}`")));
            }
            _ => return Ok(left),
        };
        self.at += 1;
        let right = self.value()?;
        let at = left.at;
        Ok(Expr { node: Node::Compare(how, Box::new(left), Box::new(right)), at })
    }

    fn value(&mut self) -> Result<Expr> {
        let at = self.place();
        if self.takes("-") {
            let of = self.deeper(Self::value)?;
            return Ok(Expr { node: Node::Minus(Box::new(of)), at });
        }
        self.postfix()
    }

    /// A value with calls and members behind it.
    fn postfix(&mut self) -> Result<Expr> {
        let mut expr = self.primary()?;
        let begin = self.depth;
        let done = loop {
            let at = expr.at;
            let node = if self.takes(".") {
                match self.name() {
                    Ok(name) => Node::Member(Box::new(expr), name),
                    Err(e) => break Err(e),
                }
            } else if self.is("[") && matches!(self.ahead(1), Some(Token::Text(_))) {
                self.at += 1;
                let Some(Token::Text(name)) = self.next() else { break Err(self.wrong("a name")) };
                if let Err(e) = self.need("]") {
                    break Err(e);
                }
                Node::Member(Box::new(expr), name)
            } else if self.is("[") && !self.starts_line() {
                break Err(unsupported("an index that is not a name"));
            } else if self.takes("(") {
                match self.arguments() {
                    Ok(arguments) => Node::Call(Box::new(expr), arguments),
                    Err(e) => break Err(e),
                }
            } else {
                break Ok(expr);
            };
            expr = Expr { node, at };
            // Each makes the expression one deeper.
            if self.depth == DEPTH_MAX {
                break Err(Error::limit("the depth of the Flux query", DEPTH_MAX, "write it flatter"));
            }
            self.depth += 1;
        };
        self.depth = begin;
        done
    }

    /// Does the next word begin a line? Then it belongs to another statement.
    fn starts_line(&self) -> bool {
        let before = self.text.get(..self.place()).unwrap_or_default();
        before.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
    }

    fn arguments(&mut self) -> Result<Vec<(String, Expr)>> {
        let mut arguments: Vec<(String, Expr)> = Vec::new();
        while !self.takes(")") {
            if !matches!((self.peek(), self.ahead(1)), (Some(Token::Name(_)), Some(Token::Sign(":")))) {
                return Err(self.wrong("an argument with its name, such as `n: 10`,"));
            }
            let name = self.name()?;
            self.need(":")?;
            if arguments.iter().any(|(n, _)| *n == name) {
                return Err(Error::invalid(format!("the argument `{name}` is given twice")));
            }
            let value = self.expression()?;
            arguments.push((name, value));
            if !self.takes(",") && !self.is(")") {
                return Err(self.wrong("`,` or `)`"));
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Result<Expr> {
        let at = self.place();
        if self.is("(") {
            return if self.is_function() { self.function() } else { self.bracketed() };
        }
        let node = match self.peek() {
            Some(Token::Sign("[")) => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.takes("]") {
                    items.push(self.expression()?);
                    if !self.takes(",") && !self.is("]") {
                        return Err(self.wrong("`,` or `]`"));
                    }
                }
                Node::Array(items)
            }
            Some(Token::Sign("{")) => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.takes("}") {
                    let name = match self.next() {
                        Some(Token::Name(name) | Token::Text(name)) => name,
                        _ => {
                            self.at -= 1;
                            return Err(self.wrong("a name"));
                        }
                    };
                    self.need(":")?;
                    items.push((name, self.expression()?));
                    if !self.takes(",") && !self.is("}") {
                        return Err(self.wrong("`,` or `}`"));
                    }
                }
                Node::Record(items)
            }
            Some(Token::Sign(_)) | None => return Err(self.wrong("an expression")),
            Some(Token::Name(word))
                if ["and", "or", "not", "exists", "import", "option", "if", "return"]
                    .contains(&word.as_str()) =>
            {
                return Err(self.wrong("an expression"));
            }
            Some(token) => {
                let node = match token.clone() {
                    Token::Name(name) => Node::Name(name),
                    Token::Text(text) => Node::Text(text),
                    Token::Integer(v) => Node::Integer(v),
                    Token::Float(v) => Node::Float(v),
                    Token::Duration(v) => Node::Duration(v),
                    Token::Time(v) => Node::Time(v),
                    Token::Regex(v) => Node::Regex(v),
                    Token::Sign(_) => return Err(self.wrong("an expression")),
                };
                self.at += 1;
                node
            }
        };
        Ok(Expr { node, at })
    }

    fn bracketed(&mut self) -> Result<Expr> {
        self.need("(")?;
        let inner = self.expression()?;
        self.need(")")?;
        Ok(inner)
    }

    /// `(r) =>` and `() =>`, with names only.
    fn is_function(&self) -> bool {
        let mut at = 1;
        loop {
            match self.ahead(at) {
                Some(Token::Sign(")")) => return matches!(self.ahead(at + 1), Some(Token::Sign("=>"))),
                Some(Token::Name(_) | Token::Sign("," | "=" | "<-")) => at += 1,
                _ => return false,
            }
        }
    }

    fn function(&mut self) -> Result<Expr> {
        let at = self.place();
        self.need("(")?;
        let mut parameters = Vec::new();
        while !self.takes(")") {
            parameters.push(self.name()?);
            if self.is("=") {
                return Err(unsupported("a function with a default"));
            }
            if !self.takes(",") && !self.is(")") {
                return Err(self.wrong("`,` or `)`"));
            }
        }
        self.need("=>")?;
        if self.is("{")
            && matches!((self.ahead(1), self.ahead(2)), (Some(Token::Name(_)), Some(t)) if *t != Token::Sign(":"))
        {
            return Err(unsupported("a function with statements"));
        }
        let body = self.expression()?;
        Ok(Expr { node: Node::Function(parameters, Box::new(body)), at })
    }
}

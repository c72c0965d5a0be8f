use crate::error::{ExpressionError, Problem, Span, nearest};
use crate::token::{Token, Tokens};
use crate::tree::{Binary, Function, Id, Level, Node, Tree, Unary};
use crate::{MAX_DEPTH, MAX_LENGTH, MAX_NAME_LENGTH, MAX_NODES, Names};

/// Reads a text into a tree. Operators by how tightly they bind, loosest first: `or`; `||`; `&&`;
/// `!`; comparisons; `+ -`; `* /`; the sign.
pub(crate) fn parse(text: &str, names: &Names) -> Result<Tree, ExpressionError> {
    let whole = Span::new(0, text.len());
    if text.len() > MAX_LENGTH {
        let problem = Problem::TooLong { bytes: text.len() };
        return Err(ExpressionError::new(text, Span::default(), problem));
    }
    if text.trim().is_empty() {
        return Err(ExpressionError::new(text, whole, Problem::Empty));
    }
    let mut tokens = Tokens::new(text);
    let next = tokens.next()?;
    let mut parser = Parser {
        text,
        names,
        tokens,
        next,
        depth: 0,
        tree: Tree::default(),
    };
    parser.expression(Level::OrElse)?;
    match parser.next {
        (Token::End, _) => Ok(parser.tree),
        (Token::Close, span) => {
            Err(parser.expected("an operator or the end, for no parenthesis is open", span))
        }
        (_, span) => Err(parser.expected("an operator or the end", span)),
    }
}

struct Parser<'a> {
    text: &'a str,
    names: &'a Names,
    tokens: Tokens<'a>,
    /// The token to look at, and where it stands.
    next: (Token<'a>, Span),
    /// How many parentheses, calls and signs are open.
    depth: usize,
    tree: Tree,
}

/// A part that has been read; its span includes parentheses around it.
type Part = (Id, Span);

const OPERAND: &str = "a number, a name, a call or a parenthesis";

impl<'a> Parser<'a> {
    /// Reads operators that bind at least as tightly as `level`, with their operands.
    fn expression(&mut self, level: Level) -> Result<Part, ExpressionError> {
        let mut left = self.operand(level)?;
        while let (Token::Operator(operator), at) = self.next {
            if operator.level() < level {
                break;
            }
            self.advance()?;
            let right = self.expression(operator.level().tighter())?;
            let chained =
                matches!(self.next, (Token::Operator(next), _) if next.level() == Level::Comparison);
            if operator.level() == Level::Comparison && chained {
                return Err(self.error(self.next.1, Problem::ChainedComparison));
            }
            let span = left.1.to(right.1);
            left = (
                self.push(Node::Binary(operator, left.0, right.0), span, at)?,
                span,
            );
        }
        Ok(left)
    }

    fn operand(&mut self, level: Level) -> Result<Part, ExpressionError> {
        let (token, at) = self.next;
        match token {
            Token::Number(number) => self.leaf(Node::Number(number), at),
            Token::Percent(percent) => self.leaf(Node::Percent(percent), at),
            Token::Word(word) => {
                self.advance()?;
                if self.next.0 == Token::Open {
                    self.call(word, at)
                } else {
                    let node = Node::Name(self.name(word, at)?);
                    Ok((self.push(node, at, at)?, at))
                }
            }
            Token::Open => {
                self.enter(at)?;
                self.advance()?;
                let (inner, _) = self.expression(Level::OrElse)?;
                let end = self.close("an operator or )")?;
                self.depth -= 1;
                Ok((inner, at.to(end)))
            }
            Token::Operator(Binary::Subtract) => self.unary(Unary::Negate, Level::Negation, at),
            Token::Not if level <= Level::Not => self.unary(Unary::Not, Level::Not, at),
            Token::Not => Err(self.expected("a number, which ! does not give", at)),
            _ => Err(self.expected(OPERAND, at)),
        }
    }

    fn leaf(&mut self, node: Node, at: Span) -> Result<Part, ExpressionError> {
        self.advance()?;
        Ok((self.push(node, at, at)?, at))
    }

    fn unary(&mut self, operator: Unary, level: Level, at: Span) -> Result<Part, ExpressionError> {
        self.enter(at)?;
        self.advance()?;
        let (operand, end) = self.expression(level)?;
        self.depth -= 1;
        let span = at.to(end);
        Ok((self.push(Node::Unary(operator, operand), span, at)?, span))
    }

    fn call(&mut self, word: &str, at: Span) -> Result<Part, ExpressionError> {
        let Some(function) = Function::named(word) else {
            return Err(self.unknown_function(word, at));
        };
        self.enter(at)?;
        self.advance()?;
        let mut arguments = Vec::new();
        if self.next.0 != Token::Close {
            arguments.push(self.expression(Level::OrElse)?.0);
            while self.next.0 == Token::Comma {
                self.advance()?;
                arguments.push(self.expression(Level::OrElse)?.0);
            }
        }
        let span = at.to(self.close("an operator, a comma or )")?);
        self.depth -= 1;
        if !function.takes(arguments.len()) {
            let problem = Problem::Arity {
                usage: function.usage(),
                count: arguments.len(),
            };
            return Err(self.error(span, problem));
        }
        let arguments = self.tree.keep(&arguments);
        Ok((self.push(Node::Call(function, arguments), span, at)?, span))
    }

    fn name(&self, word: &str, at: Span) -> Result<usize, ExpressionError> {
        if let Some(place) = self.names.place(word) {
            return Ok(place);
        }
        if let Some(function) = Function::named(word) {
            let problem = Problem::Expected {
                expected: function.usage(),
                found: format!("{word:?} without a parenthesis behind it"),
            };
            return Err(self.error(at, problem));
        }
        let problem = Problem::UnknownName {
            name: cut(word),
            nearest: nearest(&cut(word), self.names.iter().map(|(name, _)| name)),
            allowed: self.names.iter().map(|(name, _)| name.to_owned()).collect(),
        };
        Err(self.error(at, problem))
    }

    fn unknown_function(&self, word: &str, at: Span) -> ExpressionError {
        if self.names.place(word).is_some() {
            let expected = "an operator between a name and a parenthesis";
            return self.expected(expected, self.next.1);
        }
        let functions = || Function::ALL.into_iter().map(Function::name);
        let problem = Problem::UnknownFunction {
            name: cut(word),
            nearest: nearest(&cut(word), functions()),
            allowed: functions().map(str::to_owned).collect(),
        };
        self.error(at, problem)
    }

    fn close(&mut self, expected: &'static str) -> Result<Span, ExpressionError> {
        let (token, at) = self.next;
        if token != Token::Close {
            return Err(self.expected(expected, at));
        }
        self.advance()?;
        Ok(at)
    }

    fn advance(&mut self) -> Result<(), ExpressionError> {
        self.next = self.tokens.next()?;
        Ok(())
    }

    fn enter(&mut self, at: Span) -> Result<(), ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(at, Problem::TooDeep));
        }
        Ok(())
    }

    fn push(&mut self, node: Node, span: Span, at: Span) -> Result<Id, ExpressionError> {
        if self.tree.len() >= MAX_NODES {
            return Err(self.error(at, Problem::TooLarge));
        }
        Ok(self.tree.push(node, span))
    }

    /// An error about the token to look at, which stands at `at`.
    fn expected(&self, expected: &'static str, at: Span) -> ExpressionError {
        let found = self.next.0.describe(self.text, at);
        self.error(at, Problem::Expected { expected, found })
    }

    fn error(&self, at: Span, problem: Problem) -> ExpressionError {
        ExpressionError::new(self.text, at, problem)
    }
}

fn cut(word: &str) -> String {
    word.chars().take(MAX_NAME_LENGTH).collect()
}

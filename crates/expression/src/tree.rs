use crate::error::Span;

/// Words that are neither names nor functions; `true` and `false` are kept for later.
pub(crate) const KEYWORDS: &[&str] = &["and", "false", "not", "or", "true"];

/// A parsed expression: nodes in an order in which operands come before what uses them, so that
/// every pass over it is one loop and needs no recursion. The last node is the whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    spans: Vec<Span>,
    arguments: Vec<Id>,
}

/// The place of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u16);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    /// As written: 80 for `80%`.
    Percent(f64),
    /// A name by its place in the order of declaration.
    Name(usize),
    Unary(Unary, Id),
    Binary(Binary, Id, Id),
    Call(Function, Arguments),
}

/// A stretch of a tree's list of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    first: u16,
    count: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Negate,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    OrElse,
    Or,
    And,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Min,
    Max,
    Sum,
    Clamp,
    If,
    Abs,
    Ceil,
    Floor,
    Round,
    Known,
}

/// How tightly a node's outermost operator binds, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    OrElse,
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Negation,
    Primary,
}

impl Tree {
    /// Adds a node whose operands are in the tree already.
    pub(crate) fn push(&mut self, node: Node, span: Span) -> Id {
        // The parser stops at MAX_NODES, far below what fits.
        let id = Id(u16::try_from(self.nodes.len()).unwrap_or(u16::MAX));
        self.nodes.push(node);
        self.spans.push(span);
        id
    }

    /// Keeps the arguments of a call.
    pub(crate) fn keep(&mut self, arguments: &[Id]) -> Arguments {
        let length = |list: &[Id]| u16::try_from(list.len()).unwrap_or(u16::MAX);
        let first = length(&self.arguments);
        self.arguments.extend_from_slice(arguments);
        Arguments {
            first,
            count: length(arguments),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every node, operands before what uses them.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Id, Node)> {
        (0..=u16::MAX).map(Id).zip(self.nodes.iter().copied())
    }

    pub(crate) fn node(&self, id: Id) -> Option<Node> {
        self.nodes.get(id.index()).copied()
    }

    pub(crate) fn root(&self) -> Option<Id> {
        let last = self.nodes.len().checked_sub(1)?;
        u16::try_from(last).ok().map(Id)
    }

    pub(crate) fn span(&self, id: Id) -> Span {
        self.spans.get(id.index()).copied().unwrap_or_default()
    }

    pub(crate) fn arguments(&self, arguments: Arguments) -> &[Id] {
        let first = usize::from(arguments.first);
        self.arguments
            .get(first..first + usize::from(arguments.count))
            .unwrap_or_default()
    }

    /// The operands of a node, from left to right.
    pub(crate) fn operands(&self, node: Node) -> Vec<Id> {
        match node {
            Node::Number(_) | Node::Percent(_) | Node::Name(_) => Vec::new(),
            Node::Unary(_, operand) => vec![operand],
            Node::Binary(_, left, right) => vec![left, right],
            Node::Call(_, arguments) => self.arguments(arguments).to_vec(),
        }
    }
}

impl PartialEq for Tree {
    /// The same meaning: where it stands in the text does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes && self.arguments == other.arguments
    }
}

impl Id {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Node {
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::Number(_) | Self::Percent(_) | Self::Name(_) | Self::Call(..) => Level::Primary,
            Self::Unary(Unary::Negate, _) => Level::Negation,
            Self::Unary(Unary::Not, _) => Level::Not,
            Self::Binary(operator, ..) => operator.level(),
        }
    }
}

impl Level {
    /// The next tighter one.
    pub(crate) const fn tighter(self) -> Self {
        match self {
            Self::OrElse => Self::Or,
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::Negation,
            Self::Negation | Self::Primary => Self::Primary,
        }
    }
}

impl Binary {
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::OrElse => Level::OrElse,
            Self::Or => Level::Or,
            Self::And => Level::And,
            Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::Equal
            | Self::NotEqual => Level::Comparison,
            Self::Add | Self::Subtract => Level::Sum,
            Self::Multiply | Self::Divide => Level::Product,
        }
    }

    /// The canonical spelling.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::OrElse => "or",
            Self::Or => "||",
            Self::And => "&&",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

impl Function {
    pub(crate) const ALL: [Self; 10] = [
        Self::Abs,
        Self::Ceil,
        Self::Clamp,
        Self::Floor,
        Self::If,
        Self::Known,
        Self::Max,
        Self::Min,
        Self::Round,
        Self::Sum,
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
            Self::Clamp => "clamp",
            Self::If => "if",
            Self::Abs => "abs",
            Self::Ceil => "ceil",
            Self::Floor => "floor",
            Self::Round => "round",
            Self::Known => "known",
        }
    }

    /// How it is called.
    pub(crate) const fn usage(self) -> &'static str {
        match self {
            Self::Min => "min(a, b, ...)",
            Self::Max => "max(a, b, ...)",
            Self::Sum => "sum(a, b, ...)",
            Self::Clamp => "clamp(x, low, high)",
            Self::If => "if(condition, then, else)",
            Self::Abs => "abs(x)",
            Self::Ceil => "ceil(x)",
            Self::Floor => "floor(x)",
            Self::Round => "round(x)",
            Self::Known => "known(x)",
        }
    }

    pub(crate) const fn takes(self, count: usize) -> bool {
        match self {
            Self::Min | Self::Max | Self::Sum => count >= 1,
            Self::Clamp | Self::If => count == 3,
            Self::Abs | Self::Ceil | Self::Floor | Self::Round | Self::Known => count == 1,
        }
    }
}

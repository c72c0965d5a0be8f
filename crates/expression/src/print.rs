use crate::tree::{Level, Node, Tree, Unary};

/// Writes a tree with as few parentheses as its meaning needs. Compiles to the same tree.
pub(crate) fn canonical(tree: &Tree, name: impl Fn(usize) -> String) -> String {
    all(tree, name).pop().unwrap_or_default()
}

/// The canonical text of every node, in the tree's order.
pub(crate) fn all(tree: &Tree, name: impl Fn(usize) -> String) -> Vec<String> {
    let mut texts: Vec<String> = Vec::with_capacity(tree.len());
    for (_, node) in tree.nodes() {
        let parts: Vec<_> = tree
            .operands(node)
            .into_iter()
            .map(|id| {
                let level = tree.node(id).map_or(Level::Primary, Node::level);
                (texts.get(id.index()).map_or("", String::as_str), level)
            })
            .collect();
        let text = match node {
            Node::Name(place) => name(place),
            _ => compose(node, &parts),
        };
        texts.push(text);
    }
    texts
}

/// Writes a node that is no name from its operands' texts and how tightly those bind.
pub(crate) fn compose(node: Node, parts: &[(&str, Level)]) -> String {
    let part = |place: usize, needs: Level| match parts.get(place) {
        Some((text, level)) if *level >= needs => (*text).to_owned(),
        Some((text, _)) => format!("({text})"),
        None => String::new(),
    };
    match node {
        Node::Number(value) => number(value),
        Node::Percent(value) => format!("{}%", number(value)),
        Node::Name(_) => String::new(),
        Node::Unary(Unary::Negate, _) => format!("-{}", part(0, Level::Negation)),
        Node::Unary(Unary::Not, _) => format!("!{}", part(0, Level::Not)),
        Node::Binary(operator, ..) => {
            let level = operator.level();
            let (left, right) = (part(0, level), part(1, level.tighter()));
            match level {
                Level::Product => format!("{left}{}{right}", operator.symbol()),
                _ => format!("{left} {} {right}", operator.symbol()),
            }
        }
        Node::Call(function, _) => {
            let arguments: Vec<_> = parts.iter().map(|(text, _)| *text).collect();
            format!("{}({})", function.name(), arguments.join(", "))
        }
    }
}

/// The shortest text that is read back as the same number; with an exponent where it is far
/// from one.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-5..1e16).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

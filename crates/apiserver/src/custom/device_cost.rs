//! How much the evaluation of a device's selector can cost at most (cel-go's `checker.Cost` with the estimators of `k8s.io/apiserver` and of
//! `k8s.io/dynamic-resource-allocation`): one for each step, more for what walks texts and lists, all of it again for every turn of a loop.

use cel::Program;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::rule_names::BINDS;

const LIST: u64 = 10;
const MAP: u64 = 30;
const STRUCT: u64 = 40;
/// Most domains of a device's attributes, and most attributes of a domain.
const MOST_PROPERTIES: u64 = 32;
const LONGEST_DOMAIN: u64 = 63;
const LONGEST_ID: u64 = 32;
/// Longest value of an attribute.
const LONGEST_VALUE: u64 = 64;
/// The size of what has none that is known.
const UNKNOWN: u64 = u64::MAX;

/// What a value is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The device itself.
    Device,
    /// Attributes or capacities by domain.
    Domains {
        attributes: bool,
    },
    /// Those of one domain.
    Properties {
        attributes: bool,
    },
    Text,
    List,
    Map,
    /// A number, a bool, an amount, a version.
    Scalar,
    /// Whatever an attribute holds, and what is not known.
    Any,
}

/// A value: what it is, its largest size, and that of its items.
#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    size: u64,
    items: u64,
}

impl Node {
    fn new(kind: Kind, size: u64) -> Self {
        Node { kind, size, items: UNKNOWN }
    }

    fn scalar() -> Self {
        Node::new(Kind::Scalar, UNKNOWN)
    }

    /// What a loop over it sees in its first variable.
    fn key(self) -> Self {
        match self.kind {
            Kind::Domains { .. } => Node::new(Kind::Text, LONGEST_DOMAIN),
            Kind::Properties { .. } => Node::new(Kind::Text, LONGEST_ID),
            Kind::List => Node::new(Kind::Any, self.items),
            _ => Node::new(Kind::Any, UNKNOWN),
        }
    }

    /// What is found in it by a key.
    fn value(self) -> Self {
        match self.kind {
            Kind::Domains { attributes } => Node::new(Kind::Properties { attributes }, MOST_PROPERTIES),
            Kind::Properties { attributes: true } => Node::new(Kind::Any, LONGEST_VALUE),
            Kind::Properties { attributes: false } => Node::scalar(),
            _ => Node::new(Kind::Any, self.items),
        }
    }
}

/// A tenth of a size, rounded up: the cost of walking a text.
fn walk(size: u64) -> u64 {
    size.div_ceil(10)
}

/// The cost of trying a pattern at every place of a text.
fn search(text: u64, pattern: u64) -> u64 {
    walk(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4))
}

fn sum(costs: impl IntoIterator<Item = u64>) -> u64 {
    costs.into_iter().fold(0, u64::saturating_add)
}

struct Estimate<'a> {
    names: Vec<(&'a str, Node)>,
}

/// The largest cost of an expression on `device`.
pub(super) fn largest(program: &Program) -> u64 {
    Estimate { names: vec![("device", Node::new(Kind::Device, UNKNOWN))] }.of(program.expression()).0
}

impl<'a> Estimate<'a> {
    /// The cost of an expression, and what it makes.
    fn of(&mut self, e: &'a IdedExpr) -> (u64, Node) {
        match &e.expr {
            Expr::Literal(LiteralValue::String(s)) => (0, Node::new(Kind::Text, s.inner().chars().count() as u64)),
            Expr::Literal(LiteralValue::Bytes(b)) => (0, Node::new(Kind::Text, b.inner().len() as u64)),
            Expr::Literal(_) => (0, Node::new(Kind::Scalar, 1)),
            Expr::Ident(name) => {
                let known = self.names.iter().rev().find(|(n, _)| n == name);
                (1, known.map_or(Node::new(Kind::Any, UNKNOWN), |(_, node)| *node))
            }
            Expr::Select(s) => self.select(s),
            Expr::Call(c) => self.call(c),
            Expr::List(l) => {
                let (cost, sizes) = self.all(&l.elements);
                let items = sizes.iter().map(|n| n.size).max().unwrap_or(0);
                (cost.saturating_add(LIST), Node { kind: Kind::List, size: l.elements.len() as u64, items })
            }
            Expr::Map(m) => {
                let parts = m.entries.iter().flat_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(x) => vec![&x.key, &x.value],
                    EntryExpr::StructField(f) => vec![&f.value],
                });
                let cost = sum(parts.map(|x| self.of(x).0).collect::<Vec<_>>());
                (cost.saturating_add(MAP), Node::new(Kind::Map, m.entries.len() as u64))
            }
            Expr::Struct(_) => (STRUCT, Node::new(Kind::Any, UNKNOWN)),
            Expr::Comprehension(c) => self.turns(c),
            Expr::Unspecified => (0, Node::new(Kind::Any, UNKNOWN)),
        }
    }

    fn all(&mut self, list: &'a [IdedExpr]) -> (u64, Vec<Node>) {
        let each: Vec<(u64, Node)> = list.iter().map(|x| self.of(x)).collect();
        (sum(each.iter().map(|(cost, _)| *cost)), each.into_iter().map(|(_, node)| node).collect())
    }

    fn select(&mut self, s: &'a SelectExpr) -> (u64, Node) {
        let (cost, of) = self.of(&s.operand);
        if s.test {
            return (cost.saturating_add(1), Node::new(Kind::Scalar, 1));
        }
        let found = match (of.kind, s.field.as_str()) {
            (Kind::Device, "driver") => Node::new(Kind::Text, LONGEST_DOMAIN),
            (Kind::Device, "attributes") => Node::new(Kind::Domains { attributes: true }, MOST_PROPERTIES),
            (Kind::Device, "capacity") => Node::new(Kind::Domains { attributes: false }, MOST_PROPERTIES),
            (Kind::Device, _) => Node::new(Kind::Scalar, 1),
            _ => of.value(),
        };
        let step = matches!(of.kind, Kind::Device | Kind::Domains { .. } | Kind::Properties { .. } | Kind::Map);
        (cost.saturating_add(u64::from(step)), found)
    }

    fn turns(&mut self, c: &'a ComprehensionExpr) -> (u64, Node) {
        let (range_cost, range) = self.of(&c.iter_range);
        let (init_cost, init) = self.of(&c.accu_init);
        let depth = self.names.len();
        self.names.push((&c.accu_var, init));
        self.names.push((&c.iter_var, range.key()));
        if let Some(second) = &c.iter_var2 {
            self.names.push((second, range.value()));
        }
        let each = self.of(&c.loop_cond).0.saturating_add(self.of(&c.loop_step).0);
        self.names.truncate(depth + 1);
        let result = self.of(&c.result).0;
        self.names.truncate(depth);
        let made = match init.kind {
            Kind::List | Kind::Map => Node::new(init.kind, range.size),
            _ => init,
        };
        (sum([range_cost, init_cost, result, range.size.saturating_mul(each)]), made)
    }

    /// `cel.bind(name, value, expression)`, which is a loop over nothing.
    fn bind(&mut self, c: &'a CallExpr) -> Option<(u64, Node)> {
        let on_cel = c.target.as_ref().is_some_and(|t| matches!(&t.expr, Expr::Ident(n) if n == BINDS));
        let [IdedExpr { expr: Expr::Ident(name), .. }, value, expression] = &c.args[..] else { return None };
        if c.func_name != "bind" || !on_cel {
            return None;
        }
        let (value_cost, value) = self.of(value);
        self.names.push((name, value));
        let (cost, made) = self.of(expression);
        self.names.pop();
        Some((sum([LIST, value_cost, cost]), made))
    }

    fn call(&mut self, c: &'a CallExpr) -> (u64, Node) {
        if let Some(bound) = self.bind(c) {
            return bound;
        }
        let (target_cost, target) = c.target.as_ref().map_or((0, None), |t| {
            let (cost, node) = self.of(t);
            (cost, Some(node))
        });
        if let ("_?_:_", [condition, a, b]) = (c.func_name.as_str(), &c.args[..]) {
            let ((first, _), (a_cost, a), (b_cost, b)) = (self.of(condition), self.of(a), self.of(b));
            let made =
                Node { kind: if a.kind == b.kind { a.kind } else { Kind::Any }, size: a.size.max(b.size), items: a.items.max(b.items) };
            return (sum([first, a_cost.max(b_cost)]), made);
        }
        let (args_cost, args) = self.all(&c.args);
        let (own, made) = function(&c.func_name, target, &args);
        (sum([target_cost, args_cost, own]), made)
    }
}

/// What two values cost that are compared from their beginning.
fn comparison(a: Node, b: Node) -> u64 {
    walk(a.size.min(b.size))
}

/// The cost of a function itself, and what it makes.
fn function(name: &str, target: Option<Node>, args: &[Node]) -> (u64, Node) {
    let first = target.or_else(|| args.first().copied());
    match (name, target, args) {
        ("_&&_" | "_||_", ..) => (0, Node::scalar()),
        ("_==_" | "_!=_", _, [a, b]) => (comparison(*a, *b), Node::scalar()),
        ("_<_" | "_<=_" | "_>_" | "_>=_", _, [a, b]) => {
            let texts = ![a.kind, b.kind].contains(&Kind::Scalar);
            (if texts { comparison(*a, *b).max(1) } else { 1 }, Node::scalar())
        }
        ("_+_", _, [a, b]) => {
            let size = a.size.saturating_add(b.size);
            match (a.kind, b.kind) {
                (Kind::List, _) | (_, Kind::List) => (1, Node { kind: Kind::List, size, items: a.items.max(b.items) }),
                (Kind::Scalar, _) | (_, Kind::Scalar) => (1, Node::scalar()),
                _ => (walk(size), Node::new(Kind::Text, size)),
            }
        }
        ("_[_]", _, [of, _]) => (1, of.value()),
        ("@in", _, [_, within]) => (if matches!(within.kind, Kind::List | Kind::Any) { within.size } else { 1 }, Node::scalar()),
        ("dyn", _, [of]) => (1, *of),
        ("contains", Some(text), [part]) => (walk(text.size).saturating_mul(walk(part.size)), Node::scalar()),
        ("startsWith" | "endsWith", Some(_), [part]) => (walk(part.size), Node::scalar()),
        ("matches", _, [.., pattern]) => (first.map_or(1, |text| search(text.size, pattern.size)), Node::scalar()),
        ("find", Some(text), [pattern, ..]) => (search(text.size, pattern.size), Node::new(Kind::Text, text.size)),
        ("findAll", Some(text), [pattern, ..]) => {
            (search(text.size, pattern.size), Node { kind: Kind::List, size: text.size, items: text.size })
        }
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => (walk(text.size), Node::new(Kind::Text, text.size)),
        ("replace", Some(text), [what, with, ..]) => {
            // The shortest text that could be replaced, as often as it could stand there.
            let size = if what.size <= 1 || what.size == UNKNOWN {
                text.size.saturating_add(1).saturating_mul(with.size).saturating_add(text.size)
            } else if with.size <= what.size {
                text.size
            } else {
                text.size.div_ceil(what.size).saturating_mul(with.size)
            };
            (text.size.div_ceil(5), Node::new(Kind::Text, size))
        }
        ("split", Some(text), _) => (text.size.div_ceil(5), Node { kind: Kind::List, size: text.size, items: text.size }),
        ("join", Some(list), separator) => {
            let between = separator.first().map_or(0, |s| s.size.saturating_mul(list.size.saturating_sub(1)));
            let size = list.size.saturating_mul(list.items).saturating_add(between);
            (walk(size), Node::new(Kind::Text, size))
        }
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(of), _) => {
            (if of.kind == Kind::List { of.size } else { walk(of.size) }, Node::scalar())
        }
        ("quantity" | "isQuantity" | "semver" | "isSemver" | "ip" | "isIP" | "cidr" | "isCIDR" | "isURL", _, [text, ..]) => {
            (walk(text.size), Node::scalar())
        }
        ("url" | "string" | "bytes", _, [text]) if matches!(text.kind, Kind::Text) => (walk(text.size), Node::new(Kind::Text, text.size)),
        _ => (1, Node::scalar()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custom::rules::compile;

    /// Cases of `k8s.io/dynamic-resource-allocation/cel/compile_test.go`.
    #[test]
    fn costs_are_those_of_the_reference() {
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let nested = (1..=7).rev().fold("int('1'.find('[0-9]*')) < 100".to_owned(), |inner, i| format!("{ten}.all(x{i}, {inner})"));
        for (source, want) in [
            ("true", 0),
            (r#""no-such-domain" in device.attributes"#, 3),
            (r#"device.driver == """#, 2),
            (r#"device.driver == "dra.example.com""#, 4),
            (r#"device.attributes["dra.example.com"].name"#, 4),
            (r#"device.attributes["dra.example.com"]["name"]"#, 4),
            (r#"cel.bind(dra, device.attributes["dra.example.com"], dra.name)"#, 15),
            (r#"device.attributes["dra.example.com"].name > 0"#, 5),
            (r#"device.attributes["dra.example.com"].name == "fish""#, 5),
            (r#"device.attributes["dra.example.com"].name.isGreaterThan(semver("0.0.1"))"#, 6),
            (r#"device.attributes["dra.example.com"].name.isGreaterThan(semver("v0.0.1", true)) && isSemver("v1.0.0", true)"#, 7),
            (r#"device.capacity["dra.example.com"].name.isGreaterThan(quantity("1Ki"))"#, 6),
            (
                r#"!("name" in device.capacity["dra.example.com"]) || device.capacity["dra.example.com"].name.isGreaterThan(quantity("1Ki"))"#,
                11,
            ),
            (r#"device.attributes.exists_one(x, x == "dra.example.com")"#, 164),
            (r#"device.attributes["dra.example.com"].exists_one(x, x == "services")"#, 133),
            (r#"device.capacity["dra.example.com"].exists_one(x, x == "memory")"#, 133),
            (r#"device.attributes["dra.example.com"].services.split("example").size() >= 2"#, 19),
            (r#"device.attributes["dra.example.com"].services.matches("[^a]?sym")"#, 18),
            ("device.allowMultipleAllocations == true", 3),
            (nested.as_str(), 85_555_551),
        ] {
            assert_eq!(largest(&compile(source).expect("it parses")), want, "{source}");
        }
    }
}

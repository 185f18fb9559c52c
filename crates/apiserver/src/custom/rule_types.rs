//! A check of the types of rules by the schema that they stand in: fields that are not there, names that nobody declared, operators on
//! values that they do not take, results that are no bool. It knows less than the reference's checker: what it cannot tell passes.

use std::collections::BTreeMap;

use cel::Program;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use serde_json::Value;

use super::rule_names::{BINDS, FUNCTIONS, NAMES};
use super::rules::escaped;
use crate::json;

/// The type of an expression.
#[derive(Clone, Debug)]
pub(super) enum Ty<'a> {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Null,
    Time,
    Span,
    List(Box<Ty<'a>>),
    Map(Box<Ty<'a>>),
    /// By its schema; a resource's root also says what it is.
    Object(&'a Value, bool),
}

impl Ty<'_> {
    pub(super) fn name(&self) -> String {
        match self {
            Ty::Dyn => "dyn".into(),
            Ty::Bool => "bool".into(),
            Ty::Int => "int".into(),
            Ty::Uint => "uint".into(),
            Ty::Double => "double".into(),
            Ty::Text => "string".into(),
            Ty::Bytes => "bytes".into(),
            Ty::Null => "null".into(),
            Ty::Time => "timestamp".into(),
            Ty::Span => "duration".into(),
            Ty::List(t) => format!("list({})", t.name()),
            Ty::Map(t) => format!("map(string, {})", t.name()),
            Ty::Object(..) => "object".into(),
        }
    }

    fn open(&self) -> bool {
        match self {
            Ty::Dyn => true,
            Ty::List(t) | Ty::Map(t) => t.open(),
            _ => false,
        }
    }

    fn same(&self, other: &Ty<'_>) -> bool {
        match (self, other) {
            (Ty::Dyn, _) | (_, Ty::Dyn) | (Ty::Object(..), Ty::Object(..)) => true,
            // Anything that may be null compares with null.
            (Ty::Null, _) | (_, Ty::Null) => true,
            (Ty::List(a), Ty::List(b)) | (Ty::Map(a), Ty::Map(b)) => a.same(b),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

/// The type that a schema gives.
pub(super) fn of_schema(s: &Value, resource: bool) -> Ty<'_> {
    if s["x-kubernetes-int-or-string"] == true {
        return Ty::Dyn;
    }
    match (json::text(s, "type"), json::text(s, "format")) {
        ("string", "byte") => Ty::Bytes,
        ("string", "date" | "date-time" | "datetime") => Ty::Time,
        ("string", "duration") => Ty::Span,
        ("string", _) => Ty::Text,
        ("boolean", _) => Ty::Bool,
        ("integer", _) => Ty::Int,
        ("number", _) => Ty::Double,
        ("array", _) => Ty::List(Box::new(of_schema(&s["items"], false))),
        ("object", _) => match s.get("additionalProperties").filter(|a| a.is_object()) {
            Some(a) => Ty::Map(Box::new(of_schema(a, false))),
            None => Ty::Object(s, resource || super::decode::embeds(s)),
        },
        _ => Ty::Dyn,
    }
}

struct Checker<'a> {
    program: &'a Program,
    source: &'a str,
    names: Vec<Names<'a>>,
    errors: Vec<String>,
}

/// Names and their types.
pub(super) type Names<'a> = BTreeMap<String, Ty<'a>>;

/// The type of what an expression makes of some names; errors are written as the reference writes them.
pub(super) fn outcome<'a>(names: Names<'a>, source: &'a str, program: &'a Program) -> Result<Ty<'a>, String> {
    let mut c = Checker { program, source, names: vec![names], errors: Vec::new() };
    let made = c.ty(program.expression());
    if c.errors.is_empty() { Ok(made) } else { Err(c.errors.join("\n ")) }
}

/// The names that rules at a place of a schema know.
fn names_of(s: &Value, resource: bool) -> Names<'_> {
    let this = of_schema(s, resource);
    BTreeMap::from([("self".to_owned(), this.clone()), ("oldSelf".to_owned(), this)])
}

/// Checks an expression at a place of a schema.
pub(super) fn check(s: &Value, resource: bool, source: &str, program: &Program) -> Result<(), String> {
    outcome(names_of(s, resource), source, program).map(|_| ())
}

/// Whether a rule that is well-typed makes a bool (or, of a message, a text), as far as can be told.
pub(super) fn makes(s: &Value, resource: bool, source: &str, program: &Program, text: bool) -> bool {
    match outcome(names_of(s, resource), source, program) {
        Ok(Ty::Dyn) => true,
        Ok(Ty::Bool) => !text,
        Ok(Ty::Text) => text,
        _ => false,
    }
}

impl<'a> Checker<'a> {
    fn fail(&mut self, id: u64, text: &str) {
        let start = self.program.source_info().offset_for(id).map_or(0, |(s, _)| s as usize).min(self.source.len());
        let before = self.source.get(..start).unwrap_or("");
        let (line, column) = (before.matches('\n').count(), before.len() - before.rfind('\n').map_or(0, |i| i + 1));
        let shown = self.source.lines().nth(line).unwrap_or("");
        let error = format!("ERROR: <input>:{}:{}: {text}\n | {shown}\n | {}^", line + 1, column + 1, ".".repeat(column));
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn ty(&mut self, e: &'a IdedExpr) -> Ty<'a> {
        match &e.expr {
            Expr::Literal(l) => match l {
                LiteralValue::Boolean(_) => Ty::Bool,
                LiteralValue::Bytes(_) => Ty::Bytes,
                LiteralValue::Double(_) => Ty::Double,
                LiteralValue::Int(_) => Ty::Int,
                LiteralValue::Null => Ty::Null,
                LiteralValue::String(_) => Ty::Text,
                LiteralValue::UInt(_) => Ty::Uint,
            },
            Expr::Ident(name) => {
                if let Some(t) = self.names.iter().rev().find_map(|scope| scope.get(name)) {
                    return t.clone();
                }
                if !NAMES.contains(&name.as_str()) && !name.starts_with(['@', '#']) {
                    self.fail(e.id, &format!("undeclared reference to '{name}' (in container '')"));
                }
                Ty::Dyn
            }
            Expr::Select(s) => {
                let of = self.ty(&s.operand);
                let found = self.select(e.id, &of, &s.field);
                if s.test { Ty::Bool } else { found }
            }
            Expr::Call(c) => self.call(e.id, c),
            Expr::List(l) => {
                let types: Vec<Ty<'a>> = l.elements.iter().map(|x| self.ty(x)).collect();
                let first = types.first().cloned().unwrap_or(Ty::Dyn);
                Ty::List(Box::new(if types.iter().all(|t| t.same(&first)) { first } else { Ty::Dyn }))
            }
            Expr::Map(m) => {
                for entry in &m.entries {
                    if let EntryExpr::MapEntry(x) = &entry.expr {
                        self.ty(&x.key);
                        self.ty(&x.value);
                    }
                }
                Ty::Map(Box::new(Ty::Dyn))
            }
            Expr::Comprehension(c) => {
                let range = self.ty(&c.iter_range);
                let (first, second) = match (range, &c.iter_var2) {
                    (Ty::List(t), None) => (*t, Ty::Dyn),
                    (Ty::List(t), Some(_)) => (Ty::Int, *t),
                    (Ty::Map(_), None) => (Ty::Text, Ty::Dyn),
                    (Ty::Map(t), Some(_)) => (Ty::Text, *t),
                    _ => (Ty::Dyn, Ty::Dyn),
                };
                let accu = self.ty(&c.accu_init);
                let mut scope = BTreeMap::from([(c.iter_var.clone(), first)]);
                if let Some(v) = &c.iter_var2 {
                    scope.insert(v.clone(), second);
                }
                // A list begins empty and takes the type of what is put in.
                let accu = if matches!(accu, Ty::List(_)) { Ty::List(Box::new(Ty::Dyn)) } else { accu };
                scope.insert(c.accu_var.clone(), accu);
                self.names.push(scope);
                self.ty(&c.loop_cond);
                self.ty(&c.loop_step);
                let out = self.ty(&c.result);
                self.names.pop();
                out
            }
            _ => Ty::Dyn,
        }
    }

    fn select(&mut self, id: u64, of: &Ty<'a>, field: &str) -> Ty<'a> {
        match of {
            Ty::Object(s, resource) => {
                if *resource {
                    match field {
                        "apiVersion" | "kind" => return Ty::Text,
                        "metadata" => return Ty::Dyn,
                        _ => {}
                    }
                }
                let properties = json::object(s, "properties");
                let found = properties.into_iter().flatten().find(|(k, _)| escaped(k).as_deref() == Some(field));
                match found {
                    Some((_, p)) => of_schema(p, false),
                    None => {
                        self.fail(id, &format!("undefined field '{field}'"));
                        Ty::Dyn
                    }
                }
            }
            Ty::Map(t) => (**t).clone(),
            Ty::Dyn => Ty::Dyn,
            other => {
                self.fail(id, &format!("type '{}' does not support field selection", other.name()));
                Ty::Dyn
            }
        }
    }

    fn call(&mut self, id: u64, c: &'a CallExpr) -> Ty<'a> {
        if let Some(t) = self.bind(c) {
            return t;
        }
        let target = match &c.target {
            // A namespace such as `sets` is no value.
            Some(t) if matches!(&t.expr, Expr::Ident(n) if NAMES.contains(&n.as_str())) => None,
            Some(t) => Some(self.ty(t)),
            None => None,
        };
        let args: Vec<Ty<'a>> = c.args.iter().map(|a| self.ty(a)).collect();
        let name = c.func_name.as_str();
        if let Some(t) = self.operator(id, name, &args) {
            return t;
        }
        match FUNCTIONS.iter().find(|(n, _)| *n == name || name.rsplit('.').next() == Some(n)) {
            Some((_, t)) => match t {
                'b' => Ty::Bool,
                'i' => Ty::Int,
                'u' => Ty::Uint,
                'd' => Ty::Double,
                's' => Ty::Text,
                'y' => Ty::Bytes,
                't' => Ty::Time,
                'p' => Ty::Span,
                _ => match (name, target) {
                    ("min" | "max" | "sum", Some(Ty::List(t))) => *t,
                    ("split" | "findAll", _) => Ty::List(Box::new(Ty::Text)),
                    ("reverse", Some(t)) => t,
                    _ => Ty::Dyn,
                },
            },
            None => {
                if !name.starts_with(['@', '_', '!', '-']) {
                    self.fail(id, &format!("undeclared reference to '{name}' (in container '')"));
                }
                Ty::Dyn
            }
        }
    }

    /// `cel.bind(name, value, expression)`, where the names say that there is such a thing.
    fn bind(&mut self, c: &'a CallExpr) -> Option<Ty<'a>> {
        let on_cel = c.target.as_ref().is_some_and(|t| matches!(&t.expr, Expr::Ident(n) if n == BINDS));
        let [IdedExpr { expr: Expr::Ident(name), .. }, value, expression] = &c.args[..] else { return None };
        if c.func_name != "bind" || !on_cel || !self.names[0].contains_key(BINDS) {
            return None;
        }
        let value = self.ty(value);
        self.names.push(BTreeMap::from([(name.clone(), value)]));
        let made = self.ty(expression);
        self.names.pop();
        Some(made)
    }

    /// The type of an operator's outcome; `None`: the name is no operator.
    fn operator(&mut self, id: u64, name: &str, args: &[Ty<'a>]) -> Option<Ty<'a>> {
        let open = args.iter().any(Ty::open);
        let numeric = |t: &Ty<'_>| matches!(t, Ty::Int | Ty::Uint | Ty::Double);
        let (fits, out) = match (name, args) {
            ("_&&_" | "_||_", _) => (args.iter().all(|t| matches!(t, Ty::Bool | Ty::Dyn)), Ty::Bool),
            ("!_", _) => (args.iter().all(|t| matches!(t, Ty::Bool | Ty::Dyn)), Ty::Bool),
            ("_?_:_", [c, a, b]) => {
                (matches!(c, Ty::Bool | Ty::Dyn) && a.same(b), if matches!(a, Ty::Null) { b.clone() } else { a.clone() })
            }
            ("_==_" | "_!=_", [a, b]) => (a.same(b), Ty::Bool),
            ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => {
                let ordered = |t: &Ty<'_>| !matches!(t, Ty::List(_) | Ty::Map(_) | Ty::Object(..) | Ty::Null);
                (ordered(a) && ordered(b) && (a.same(b) || (numeric(a) && numeric(b))), Ty::Bool)
            }
            ("_+_", [a, b]) => {
                let fits = match (a, b) {
                    (Ty::Time, Ty::Span) | (Ty::Span, Ty::Time) => true,
                    (Ty::Bool | Ty::Map(_) | Ty::Object(..) | Ty::Null, _) => false,
                    _ => a.same(b),
                };
                (fits, if matches!((a, b), (Ty::Span, Ty::Time)) { Ty::Time } else { a.clone() })
            }
            ("_-_", [a, b]) => match (a, b) {
                (Ty::Time, Ty::Time) => (true, Ty::Span),
                (Ty::Time, Ty::Span) => (true, Ty::Time),
                (Ty::Span, Ty::Span) => (true, Ty::Span),
                _ => (numeric(a) && a.same(b), a.clone()),
            },
            ("_*_" | "_/_", [a, b]) => (numeric(a) && a.same(b), a.clone()),
            ("_%_", [a, b]) => (matches!(a, Ty::Int | Ty::Uint) && a.same(b), a.clone()),
            ("-_", [a]) => (matches!(a, Ty::Int | Ty::Double), a.clone()),
            ("@in", [_, Ty::List(_) | Ty::Map(_) | Ty::Dyn]) => (true, Ty::Bool),
            ("@in", _) => (false, Ty::Bool),
            ("_[_]", [Ty::List(t), i]) => (matches!(i, Ty::Int | Ty::Uint | Ty::Dyn), (**t).clone()),
            ("_[_]", [Ty::Map(t), _]) => (true, (**t).clone()),
            ("_[_]", [Ty::Object(..), _]) => (false, Ty::Dyn),
            ("_?._" | "_[?_]" | "_[_]", _) => (true, Ty::Dyn),
            _ => return None,
        };
        if !fits && !open {
            let list: Vec<String> = args.iter().map(Ty::name).collect();
            self.fail(id, &format!("found no matching overload for '{name}' applied to '({})'", list.join(", ")));
        }
        Some(if open && !matches!(out, Ty::Bool) { Ty::Dyn } else { out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custom::rules::compile;
    use serde_json::json;

    fn told(rule: &str) -> Option<String> {
        let s = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "name": {"type": "string"}, "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}}, "port": {"x-kubernetes-int-or-string": true},
        }});
        let p = compile(rule).expect("the rule parses");
        check(&s, true, rule, &p).err()
    }

    #[test]
    fn well_typed_rules_pass() {
        for rule in [
            "self.n < 3 && self.name.startsWith('a')",
            "self.list.all(x, x.a == 'b') || self.list.exists(x, has(x.a))",
            "self.map['k'] > 1 && 'k' in self.map && self.map.all(k, k.size() > 1)",
            "self.port == 80 || self.port == 'http'",
            "self.metadata.name == self.name && self.kind == 'X'",
            "self.list.map(x, x.a).filter(a, a != '').size() == self.list.size()",
            "self.n == oldSelf.n && duration('1h') > duration('1s')",
            "quantity(self.name).isGreaterThan(quantity('1')) && sets.contains([1], [1])",
            "(has(self.n) ? self.n : 0) + 1 > 0",
        ] {
            assert_eq!(told(rule), None, "{rule}");
        }
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn ill_typed_rules_are_refused_in_the_words_of_the_reference() {
        for (rule, want) in [
            ("self.nope > 1", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^"),
            ("other > 1", "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other > 1\n | ^"),
            (
                "self.n > 'a'",
                "ERROR: <input>:1:8: found no matching overload for '_>_' applied to '(int, string)'\n | self.n > 'a'\n | .......^",
            ),
        ] {
            assert_eq!(told(rule).as_deref(), Some(want), "{rule}");
        }
    }
}

//! `x-kubernetes-validations`: rules in CEL on custom objects (KEP-2876; apiextensions `schema/cel`).
//!
//! The expressions are the `cel` crate's. What it has not: a checker of types (a definition with a rule of the wrong type is taken, and the
//! rule fails when it runs) and an estimate of cost (no rule is too dear).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use cel::objects::{Key, Map as CelMap, OptionalValue, Value as Cel};
use cel::{Context, Env as CelEnv, ExecutionError, Program};
use serde_json::Value;

use super::{check, lists, rule_functions};
use crate::json;
use crate::kinds::Errors;
use crate::status::Cause;

/// Longest text of a `messageExpression` (`MaxEvaluatedMessageExpressionSizeBytes`).
const LONGEST_MESSAGE: usize = 5 * 1024;

/// The expressions of a schema, compiled.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    programs: BTreeMap<String, Result<Program, String>>,
}

/// The environment of all expressions: the standard library and what Kubernetes adds.
pub(super) fn environment() -> &'static Arc<CelEnv> {
    static ENV: OnceLock<Arc<CelEnv>> = OnceLock::new();
    ENV.get_or_init(|| {
        let mut env = CelEnv::stdlib();
        env.add_extension(cel::extensions::strings).expect("the standard library declares no function of this one");
        rule_functions::declare(&mut env).expect("no two functions of Kubernetes have one signature");
        Arc::new(env)
    })
}

/// Compiles one expression.
pub(super) fn compile(source: &str) -> Result<Program, String> {
    environment().compile(source).map_err(|e| e.to_string().replace('\n', "\n "))
}

/// Reads an expression; nothing is kept of it.
pub(crate) fn expression_syntax(source: &str) -> Result<(), String> {
    compile(source).map(|_| ())
}

impl Rules {
    /// Compiles all expressions of a schema; `None`: it has none.
    pub(super) fn of(s: &Value) -> Option<Rules> {
        let mut rules = Rules::default();
        rules.collect(s);
        (!rules.programs.is_empty()).then_some(rules)
    }

    fn collect(&mut self, s: &Value) {
        for rule in json::list(s, "x-kubernetes-validations") {
            for k in ["rule", "messageExpression"] {
                let source = json::text(rule, k);
                if !source.trim().is_empty() {
                    self.programs.entry(source.to_owned()).or_insert_with(|| compile(source));
                }
            }
        }
        super::each_below(s, &mut |_, below| self.collect(below));
    }

    /// Runs the rules on an object that stands at a path, and may be a resource itself. `old`: the object before an update. Failures of what did not change are warnings only (KEP-4008).
    pub(super) fn check(
        &self,
        s: &Value,
        v: &Value,
        old: Option<&Value>,
        (path, root): (&str, bool),
        e: &mut Errors,
        warnings: &mut Vec<String>,
    ) {
        let place = Place { path: path.to_owned(), root, same: old.is_some_and(|o| check::equal(o, v)) };
        self.node(s, v, old, &place, e, warnings);
    }

    fn node(&self, s: &Value, v: &Value, old: Option<&Value>, at: &Place, e: &mut Errors, warnings: &mut Vec<String>) {
        if v.is_null() {
            return;
        }
        self.run(s, v, old, at, e, warnings);
        let below = |path: String, v: &Value, old: Option<&Value>| Place {
            path,
            root: false,
            // What has no counterpart of its own is unchanged when its nearest known ancestor is.
            same: old.map_or(at.same, |o| check::equal(o, v)),
        };
        match v {
            Value::Array(l) => {
                let items = &s["items"];
                for (i, v) in l.iter().enumerate() {
                    let old = lists::counterpart(s, v, old);
                    self.node(items, v, old, &below(format!("{}[{i}]", at.path), v, old), e, warnings);
                }
            }
            Value::Object(m) => {
                let properties = json::object(s, "properties");
                for (k, v) in m {
                    let old = old.and_then(|o| o.get(k));
                    if let Some(p) = properties.and_then(|p| p.get(k)) {
                        let path = if at.path.is_empty() { k.clone() } else { format!("{}.{k}", at.path) };
                        let mut place = below(path, v, old);
                        place.root = super::decode::embeds(p);
                        self.node(p, v, old, &place, e, warnings);
                    } else if s["additionalProperties"].is_object() {
                        self.node(&s["additionalProperties"], v, old, &below(format!("{}[{k}]", at.path), v, old), e, warnings);
                    }
                }
            }
            _ => {}
        }
    }

    fn run(&self, s: &Value, v: &Value, old: Option<&Value>, at: &Place, e: &mut Errors, warnings: &mut Vec<String>) {
        let rules = json::list(s, "x-kubernetes-validations");
        if rules.is_empty() {
            return;
        }
        let field = if at.path.is_empty() { "<nil>" } else { &at.path };
        let kind = Value::from(json::text(s, "type"));
        let this = to_cel(s, v, at.root);
        let before = old.filter(|o| !o.is_null()).map(|o| to_cel(s, o, at.root));
        for rule in rules {
            let source = json::text(rule, "rule");
            let program = match self.programs.get(source) {
                None => continue,
                Some(Ok(p)) => p,
                Some(Err(why)) => {
                    e.invalid(field, &kind, &format!("rule compile error: compilation failed: {why}"));
                    continue;
                }
            };
            let optional = rule["optionalOldSelf"] == true;
            let transition = program.references().has_variable("oldSelf");
            if transition && before.is_none() && !optional {
                continue;
            }
            let old_self = match (&before, optional) {
                (Some(b), false) => Some(b.clone()),
                (None, false) => None,
                (b, true) => Some(Cel::Opaque(Arc::new(b.clone().map_or_else(OptionalValue::none, OptionalValue::of)))),
            };
            match evaluate(program, &this, old_self.as_ref()) {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => {
                    let told = self.message(rule, &this, old_self.as_ref());
                    let cause = cause_of(rule, &at.path, s, v, &told);
                    if !transition && at.same {
                        warnings.push(format!("{}: {}", cause.field, cause.message));
                    } else {
                        e.causes.push(cause);
                    }
                }
                Ok(_) => e.invalid(field, &kind, &format!("no such overload evaluating rule: {}", told_as(rule))),
                Err(why) => e.invalid(field, &kind, &trouble(&why, told_as(rule))),
            }
        }
    }

    /// What a failed rule says: its expression's text, its message, or itself.
    fn message(&self, rule: &Value, this: &Cel, old: Option<&Cel>) -> String {
        if let Some(Ok(p)) = self.programs.get(json::text(rule, "messageExpression"))
            && let Ok(Cel::String(text)) = evaluate(p, this, old)
        {
            let text = text.trim();
            if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') {
                return text.to_owned();
            }
        }
        match json::text(rule, "message") {
            "" => format!("failed rule: {}", json::text(rule, "rule").trim()),
            said => said.trim().to_owned(),
        }
    }
}

/// A place in an object.
struct Place {
    path: String,
    /// The root of a resource, whose rules see its type and name.
    root: bool,
    /// The same as before an update.
    same: bool,
}

fn told_as(rule: &Value) -> &str {
    match json::text(rule, "message") {
        "" => json::text(rule, "rule").trim(),
        said => said.trim(),
    }
}

fn cause_of(rule: &Value, path: &str, s: &Value, v: &Value, told: &str) -> Cause {
    let within = json::text(rule, "fieldPath").trim_start_matches('.').replace("['", ".").replace("']", "");
    let field = match (path, within.as_str()) {
        ("", "") => "<nil>".to_owned(),
        (p, "") => p.to_owned(),
        ("", w) => w.to_owned(),
        (p, w) => format!("{p}.{w}"),
    };
    let shown = if matches!(json::text(s, "type"), "object" | "array") { String::new() } else { format!("{v}") };
    match json::text(rule, "reason") {
        "FieldValueForbidden" => Cause::new("FieldValueForbidden", field, format!("Forbidden: {told}")),
        "FieldValueRequired" => Cause::new("FieldValueRequired", field, format!("Required value: {told}")),
        "FieldValueDuplicate" if shown.is_empty() => Cause::new("FieldValueDuplicate", field, "Duplicate value"),
        "FieldValueDuplicate" => Cause::new("FieldValueDuplicate", field, format!("Duplicate value: {shown}")),
        _ if shown.is_empty() => Cause::new("FieldValueInvalid", field, format!("Invalid value: {told}")),
        _ => Cause::new("FieldValueInvalid", field, format!("Invalid value: {shown}: {told}")),
    }
}

fn evaluate(program: &Program, this: &Cel, old: Option<&Cel>) -> Result<Cel, ExecutionError> {
    let mut context = Context::with_env(environment().clone());
    context.add_variable_from_value("self", this.clone());
    if let Some(o) = old {
        context.add_variable_from_value("oldSelf", o.clone());
    }
    program.execute(&context)
}

/// A failure while a rule ran, as the reference words it.
fn trouble(why: &ExecutionError, told: &str) -> String {
    let text = match why {
        ExecutionError::NoSuchKey(k) => format!("no such key: {k}"),
        ExecutionError::IndexOutOfBounds(Cel::Int(i)) => format!("index out of bounds: {i}"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::NoSuchOverload(_) | ExecutionError::UnsupportedBinaryOperator(..) | ExecutionError::ValuesNotComparable(..) => {
            return format!(
                "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {told}"
            );
        }
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    format!("{text} evaluating rule: {told}")
}

/// Words that no expression can use as names, and the signs that names cannot have (`cel.Escape`).
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name of a field within expressions; `None`: it has none there.
pub(super) fn escaped(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let out = name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__");
    let starts = out.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    (starts && out.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(out)
}

fn map(entries: impl Iterator<Item = (String, Cel)>) -> Cel {
    let entries: HashMap<Key, Cel> = entries.map(|(k, v)| (Key::String(Arc::new(k)), v)).collect();
    Cel::Map(CelMap { map: Arc::new(entries) })
}

/// A value as expressions see it: by its schema, not by its looks.
pub(super) fn to_cel(s: &Value, v: &Value, root: bool) -> Cel {
    match v {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => match (json::text(s, "type"), n.as_i64()) {
            ("number", _) | (_, None) => Cel::Float(n.as_f64().unwrap_or(0.0)),
            (_, Some(i)) => Cel::Int(i),
        },
        Value::String(t) => text(s, t),
        Value::Array(l) => Cel::List(Arc::new(l.iter().map(|v| to_cel(&s["items"], v, super::decode::embeds(&s["items"]))).collect())),
        Value::Object(m) => {
            if let Some(a) = s.get("additionalProperties").filter(|a| a.is_object()) {
                return map(m.iter().map(|(k, v)| (k.clone(), to_cel(a, v, false))));
            }
            let own = |k: &String, v: &Value| {
                if root && matches!(k.as_str(), "apiVersion" | "kind") {
                    return Some((k.clone(), to_cel(&Value::Null, v, false)));
                }
                if root && k == "metadata" {
                    let known = |n: &str| Some((n.to_owned(), Cel::String(Arc::new(v.get(n)?.as_str()?.to_owned()))));
                    return Some((k.clone(), map(["name", "generateName"].into_iter().filter_map(known))));
                }
                let p = s.get("properties")?.get(k)?;
                Some((escaped(k)?, to_cel(p, v, super::decode::embeds(p))))
            };
            map(m.iter().filter_map(|(k, v)| own(k, v)))
        }
    }
}

fn text(s: &Value, t: &str) -> Cel {
    let plain = || Cel::String(Arc::new(t.to_owned()));
    match json::text(s, "format") {
        "byte" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(t).map_or_else(|_| plain(), |b| Cel::Bytes(Arc::new(b)))
        }
        f @ ("date" | "date-time" | "datetime") => {
            rule_functions::timestamp(&if f == "date" { format!("{t}T00:00:00Z") } else { t.to_owned() }).unwrap_or_else(plain)
        }
        "duration" => rule_functions::duration(t).unwrap_or_else(plain),
        _ => plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(s: Value, v: Value, old: Option<Value>) -> Vec<String> {
        let rules = Rules::of(&s).expect("the schema has rules");
        let (mut e, mut w) = (Errors::default(), Vec::new());
        rules.check(&s, &v, old.as_ref(), ("", true), &mut e, &mut w);
        e.causes.iter().map(|c| format!("{}: {}", c.field, c.message)).chain(w.into_iter().map(|w| format!("warning {w}"))).collect()
    }

    fn spec(rule: Value, v: Value, old: Option<Value>) -> Vec<String> {
        let s = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": [rule], "properties": {
            "n": {"type": "integer"}, "name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}},
            "a-b": {"type": "integer"}, "port": {"x-kubernetes-int-or-string": true},
        }}}});
        told(s, json!({"spec": v}), old.map(|o| json!({"spec": o})))
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn rules_fail_in_their_own_words() {
        assert_eq!(spec(json!({"rule": "self.n < 3", "message": "too large"}), json!({"n": 4}), None), ["spec: Invalid value: too large"]);
        assert_eq!(spec(json!({"rule": "self.n < 3"}), json!({"n": 4}), None), ["spec: Invalid value: failed rule: self.n < 3"]);
        assert_eq!(
            spec(json!({"rule": "self.n < 3", "messageExpression": "'have ' + string(self.n)"}), json!({"n": 4}), None),
            ["spec: Invalid value: have 4"]
        );
        assert_eq!(
            spec(json!({"rule": "self.n < 3", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".n"}), json!({"n": 4}), None),
            ["spec.n: Forbidden: m"]
        );
        assert_eq!(spec(json!({"rule": "self.a__dash__b == 1"}), json!({"a-b": 1}), None), Vec::<String>::new());
        assert_eq!(spec(json!({"rule": "!has(self.name) || self.name.startsWith('x')"}), json!({"n": 4}), None), Vec::<String>::new());
        assert_eq!(
            spec(json!({"rule": "self.n < 3"}), json!({}), None),
            ["spec: Invalid value: \"object\": no such key: n evaluating rule: self.n < 3"]
        );
    }

    #[test]
    fn transitions_are_looked_at_when_there_was_something_before() {
        let rule = json!({"rule": "self.n >= oldSelf.n", "message": "never less"});
        assert_eq!(spec(rule.clone(), json!({"n": 1}), None), Vec::<String>::new());
        assert_eq!(spec(rule.clone(), json!({"n": 1}), Some(json!({"n": 2}))), ["spec: Invalid value: never less"]);
        let first = json!({"rule": "oldSelf.hasValue() || self.n == 0", "optionalOldSelf": true, "message": "begins at 0"});
        assert_eq!(spec(first, json!({"n": 1}), None), ["spec: Invalid value: begins at 0"]);
    }

    #[test]
    fn what_failed_before_and_did_not_change_is_a_warning() {
        let rule = json!({"rule": "self.n < 3", "message": "too large"});
        assert_eq!(spec(rule, json!({"n": 4}), Some(json!({"n": 4}))), ["warning spec: Invalid value: too large"]);
    }

    #[test]
    fn kubernetes_own_functions_are_there() {
        for rule in [
            "self.tags.isSorted()",
            "self.tags.indexOf('b') == 1",
            "[1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [3, 1].max() == 3",
            "'abc123'.find('[0-9]+') == '123'",
            "'1 2 3'.findAll('[0-9]') == ['1', '2', '3']",
            "isURL('https://example.com/x') && url('https://example.com:80/x?q=1').getHost() == 'example.com:80'",
            "quantity('1Gi').isGreaterThan(quantity('1M')) && isQuantity('500m') && quantity('2').asInteger() == 2",
            "isIP('10.0.0.1') && ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
            "sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])",
            "self.name.lowerAscii() == 'ab' && self.name.size() == 2",
            "self.tags.all(t, t.matches('^[a-z]$')) && self.tags.exists_one(t, t == 'a')",
            "duration('1h') > duration('30m')",
            "!format.dns1123Label().validate('a-b').hasValue()",
        ] {
            assert_eq!(spec(json!({"rule": rule}), json!({"name": "AB", "tags": ["a", "b"]}), None), Vec::<String>::new(), "{rule}");
        }
    }
}

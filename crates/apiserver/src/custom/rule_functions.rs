//! Functions that Kubernetes adds to CEL (`k8s.io/apiserver/pkg/cel/library`): lists, regular expressions, URLs, quantities, IP addresses,
//! sets, named formats.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use cel::common::types::{ANY_TYPE, DYN_TYPE, INT_TYPE, LIST_TYPE, MAP_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::objects::{Key, Map, OptionalValue, Value};
use cel::{DeclarationError, Env, ExecutionError};

use crate::meta;
use crate::quantity::Quantity;

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Out<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn own<'b, 'v>(v: Value) -> Out<'b, 'v> {
    let v: Box<dyn Val> = v.try_into().map_err(|_| ExecutionError::InternalError("a value without a form of its own".into()))?;
    Ok(CowVal::Owned(v))
}

fn values(args: &Args<'_, '_>) -> Result<Vec<Value>, ExecutionError> {
    args.iter().map(|a| Value::try_from(a.as_ref())).collect()
}

fn text(v: &Value) -> &str {
    match v {
        Value::String(t) => t,
        _ => "",
    }
}

fn string(t: impl Into<String>) -> Value {
    Value::String(Arc::new(t.into()))
}

fn list(v: &Value) -> &[Value] {
    match v {
        Value::List(l) => l,
        _ => &[],
    }
}

fn field<'a>(v: &'a Value, k: &str) -> &'a Value {
    match v {
        Value::Map(m) => m.map.get(&Key::String(Arc::new(k.to_owned()))).unwrap_or(&Value::Null),
        _ => &Value::Null,
    }
}

/// A value with a type of its own is a map with a mark: the library has no cheaper form for it.
fn tagged(mark: &str, entries: Vec<(&str, Value)>) -> Value {
    let mut map: HashMap<Key, Value> = entries.into_iter().map(|(k, v)| (Key::String(Arc::new(k.to_owned())), v)).collect();
    map.insert(Key::String(Arc::new("@type".into())), string(mark));
    Value::Map(Map { map: Arc::new(map) })
}

fn failed(function: &str, why: impl ToString) -> ExecutionError {
    ExecutionError::function_error(function, why)
}

/// A point in time.
pub(super) fn timestamp(t: &str) -> Option<Value> {
    made("timestamp(t)", t)
}

/// A span of time.
pub(super) fn duration(t: &str) -> Option<Value> {
    made("duration(t)", t)
}

fn made(source: &str, t: &str) -> Option<Value> {
    let program = super::rules::environment().compile(source).ok()?;
    let mut context = cel::Context::with_env(super::rules::environment().clone());
    context.add_variable_from_value("t", string(t));
    program.execute(&context).ok()
}

/// Declares everything.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    lists(env)?;
    expressions(env)?;
    urls(env)?;
    quantities(env)?;
    addresses(env)?;
    sets(env)?;
    formats(env)
}

fn member(env: &mut Env, name: &str, of: Type, args: Vec<Type>, f: cel::common::functions::Function) -> Result<(), DeclarationError> {
    let id = format!("k8s_{name}_{}", args.len());
    env.add_member_overload(name, &id, of, args, f)
}

fn global(env: &mut Env, name: &str, args: Vec<Type>, f: cel::common::functions::Function) -> Result<(), DeclarationError> {
    let id = format!("k8s_{name}");
    env.add_overload(name, &id, args, f)
}

fn least(l: &[Value], want: std::cmp::Ordering, name: &str) -> Result<Value, ExecutionError> {
    let mut best = l.first().ok_or_else(|| failed(name, format!("{name} called on empty list")))?;
    for v in &l[1..] {
        if v.partial_cmp(best) == Some(want) {
            best = v;
        }
    }
    Ok(best.clone())
}

fn lists(env: &mut Env) -> Result<(), DeclarationError> {
    use std::cmp::Ordering::{Greater, Less};
    member(env, "isSorted", LIST_TYPE, vec![], |a| {
        let v = values(&a)?;
        own(Value::Bool(list(&v[0]).windows(2).all(|w| w[0].partial_cmp(&w[1]) != Some(Greater))))
    })?;
    member(env, "min", LIST_TYPE, vec![], |a| own(least(list(&values(&a)?[0]), Less, "min")?))?;
    member(env, "max", LIST_TYPE, vec![], |a| own(least(list(&values(&a)?[0]), Greater, "max")?))?;
    member(env, "sum", LIST_TYPE, vec![], |a| {
        let v = values(&a)?;
        let mut sum = match list(&v[0]).first() {
            Some(Value::Float(_)) => Value::Float(0.0),
            Some(Value::UInt(_)) => Value::UInt(0),
            _ => Value::Int(0),
        };
        for x in list(&v[0]) {
            sum = match (sum, x) {
                (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(*b).ok_or_else(|| failed("sum", "integer overflow"))?),
                (Value::UInt(a), Value::UInt(b)) => Value::UInt(a.checked_add(*b).ok_or_else(|| failed("sum", "integer overflow"))?),
                (Value::Float(a), Value::Float(b)) => Value::Float(a + b),
                _ => return Err(failed("sum", "no such overload")),
            };
        }
        own(sum)
    })?;
    member(env, "indexOf", LIST_TYPE, vec![DYN_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Int(list(&v[0]).iter().position(|x| *x == v[1]).map_or(-1, |i| i as i64)))
    })?;
    member(env, "lastIndexOf", LIST_TYPE, vec![DYN_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Int(list(&v[0]).iter().rposition(|x| *x == v[1]).map_or(-1, |i| i as i64)))
    })
}

fn expressions(env: &mut Env) -> Result<(), DeclarationError> {
    fn compiled(pattern: &Value) -> Result<regex::Regex, ExecutionError> {
        regex::Regex::new(text(pattern)).map_err(|e| failed("find", format!("Illegal regex: {e}")))
    }
    member(env, "find", STRING_TYPE, vec![STRING_TYPE], |a| {
        let v = values(&a)?;
        own(string(compiled(&v[1])?.find(text(&v[0])).map_or("", |m| m.as_str())))
    })?;
    member(env, "findAll", STRING_TYPE, vec![STRING_TYPE], |a| {
        let v = values(&a)?;
        own(Value::List(Arc::new(compiled(&v[1])?.find_iter(text(&v[0])).map(|m| string(m.as_str())).collect())))
    })?;
    member(env, "findAll", STRING_TYPE, vec![STRING_TYPE, INT_TYPE], |a| {
        let v = values(&a)?;
        let most = match &v[2] {
            Value::Int(n) => usize::try_from(*n).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        own(Value::List(Arc::new(compiled(&v[1])?.find_iter(text(&v[0])).take(most).map(|m| string(m.as_str())).collect())))
    })
}

/// The parts of a URL: absolute, or an absolute path (Go `url.ParseRequestURI`).
fn url_parts(t: &str) -> Option<(String, String, String, String)> {
    if t.is_empty() || t.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let (scheme, rest) = if t.starts_with('/') { ("", t) } else { t.split_once(':')? };
    let valid = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !valid || (!scheme.is_empty() && !scheme.starts_with(|c: char| c.is_ascii_alphabetic())) {
        return None;
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(r) => r.find('/').map_or((r, ""), |i| r.split_at(i)),
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, h)| h);
    Some((scheme.to_owned(), host.to_owned(), path.to_owned(), query.to_owned()))
}

fn urls(env: &mut Env) -> Result<(), DeclarationError> {
    global(env, "isURL", vec![STRING_TYPE], |a| own(Value::Bool(url_parts(text(&values(&a)?[0])).is_some())))?;
    global(env, "url", vec![STRING_TYPE], |a| {
        let v = values(&a)?;
        let t = text(&v[0]);
        let (scheme, host, path, query) = url_parts(t)
            .ok_or_else(|| failed("url", format!("URL parse error during conversion from string: parse {t:?}: invalid URI for request")))?;
        let name = host.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())).map_or(host.as_str(), |(n, _)| n);
        let port = host.strip_prefix(name).unwrap_or("").trim_start_matches(':').to_owned();
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut params: Vec<(String, Vec<Value>)> = Vec::new();
        for p in query.split('&').filter(|p| !p.is_empty()) {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            match params.iter_mut().find(|(n, _)| n == k) {
                Some((_, l)) => l.push(string(v)),
                None => params.push((k.to_owned(), vec![string(v)])),
            }
        }
        let query: HashMap<Key, Value> = params.into_iter().map(|(k, l)| (Key::String(Arc::new(k)), Value::List(Arc::new(l)))).collect();
        own(tagged(
            "url",
            vec![
                ("scheme", string(scheme)),
                ("host", string(host.as_str())),
                ("hostname", string(name)),
                ("port", string(port)),
                ("path", string(path)),
                ("query", Value::Map(Map { map: Arc::new(query) })),
            ],
        ))
    })?;
    member(env, "getScheme", MAP_TYPE, vec![], |a| own(field(&values(&a)?[0], "scheme").clone()))?;
    member(env, "getHost", MAP_TYPE, vec![], |a| own(field(&values(&a)?[0], "host").clone()))?;
    member(env, "getHostname", MAP_TYPE, vec![], |a| own(field(&values(&a)?[0], "hostname").clone()))?;
    member(env, "getPort", MAP_TYPE, vec![], |a| own(field(&values(&a)?[0], "port").clone()))?;
    member(env, "getEscapedPath", MAP_TYPE, vec![], |a| own(field(&values(&a)?[0], "path").clone()))?;
    member(env, "getQuery", MAP_TYPE, vec![], |a| own(field(&values(&a)?[0], "query").clone()))
}

fn amount(v: &Value, function: &str) -> Result<Quantity, ExecutionError> {
    let t = match v {
        Value::Map(_) => text(field(v, "amount")),
        Value::Int(i) => return Ok(Quantity::from_int(*i)),
        other => text(other),
    };
    Quantity::parse(t).map_err(|e| failed(function, e))
}

fn of_amount(q: Quantity) -> Value {
    tagged("quantity", vec![("amount", string(q.to_string()))])
}

fn quantities(env: &mut Env) -> Result<(), DeclarationError> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    global(env, "isQuantity", vec![STRING_TYPE], |a| own(Value::Bool(Quantity::parse(text(&values(&a)?[0])).is_ok())))?;
    global(env, "quantity", vec![STRING_TYPE], |a| own(of_amount(amount(&values(&a)?[0], "quantity")?)))?;
    member(env, "isGreaterThan", MAP_TYPE, vec![MAP_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Bool(amount(&v[0], "isGreaterThan")?.nanos().cmp(&amount(&v[1], "isGreaterThan")?.nanos()) == Greater))
    })?;
    member(env, "isLessThan", MAP_TYPE, vec![MAP_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Bool(amount(&v[0], "isLessThan")?.nanos().cmp(&amount(&v[1], "isLessThan")?.nanos()) == Less))
    })?;
    member(env, "compareTo", MAP_TYPE, vec![MAP_TYPE], |a| {
        let v = values(&a)?;
        let order = amount(&v[0], "compareTo")?.nanos().cmp(&amount(&v[1], "compareTo")?.nanos());
        own(Value::Int(match order {
            Less => -1,
            Equal => 0,
            Greater => 1,
        }))
    })?;
    member(env, "sign", MAP_TYPE, vec![], |a| own(Value::Int(amount(&values(&a)?[0], "sign")?.nanos().signum() as i64)))?;
    member(env, "asInteger", MAP_TYPE, vec![], |a| {
        let q = amount(&values(&a)?[0], "asInteger")?.nanos();
        if q % 1_000_000_000 != 0 {
            return Err(failed("asInteger", "cannot convert value to integer"));
        }
        own(Value::Int(i64::try_from(q / 1_000_000_000).map_err(|e| failed("asInteger", e))?))
    })?;
    member(env, "isInteger", MAP_TYPE, vec![], |a| own(Value::Bool(amount(&values(&a)?[0], "isInteger")?.nanos() % 1_000_000_000 == 0)))?;
    member(env, "asApproximateFloat", MAP_TYPE, vec![], |a| {
        own(Value::Float(amount(&values(&a)?[0], "asApproximateFloat")?.nanos() as f64 / 1e9))
    })?;
    member(env, "add", MAP_TYPE, vec![ANY_TYPE], |a| {
        let v = values(&a)?;
        own(of_amount(amount(&v[0], "add")?.plus(amount(&v[1], "add")?)))
    })
}

fn address(v: &Value, function: &str) -> Result<IpAddr, ExecutionError> {
    let t = if let Value::Map(_) = v { text(field(v, "ip")) } else { text(v) };
    t.parse().map_err(|_| {
        failed(function, format!("IP Address {t:?} parse error during conversion from string: ParseAddr({t:?}): unable to parse IP"))
    })
}

fn network(v: &Value, function: &str) -> Result<(IpAddr, u8), ExecutionError> {
    let t = if let Value::Map(_) = v { text(field(v, "cidr")) } else { text(v) };
    let wrong = || failed(function, format!("network address parse error during conversion from string: netip.ParsePrefix({t:?}): no '/'"));
    let (ip, bits) = t.split_once('/').ok_or_else(wrong)?;
    let (ip, bits): (IpAddr, u8) = (ip.parse().map_err(|_| wrong())?, bits.parse().map_err(|_| wrong())?);
    if bits > if ip.is_ipv4() { 32 } else { 128 } { Err(wrong()) } else { Ok((ip, bits)) }
}

/// An address as a number and how many bits it has.
fn bits_of(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
        IpAddr::V6(a) => (u128::from(a), 128),
    }
}

fn within((net, bits): (IpAddr, u8), ip: IpAddr) -> bool {
    let ((n, width), (i, w)) = (bits_of(net), bits_of(ip));
    let shift = u32::from(width - bits);
    width == w && n.checked_shr(shift).unwrap_or(0) == i.checked_shr(shift).unwrap_or(0)
}

fn addresses(env: &mut Env) -> Result<(), DeclarationError> {
    global(env, "isIP", vec![STRING_TYPE], |a| own(Value::Bool(text(&values(&a)?[0]).parse::<IpAddr>().is_ok())))?;
    global(env, "ip", vec![STRING_TYPE], |a| own(tagged("ip", vec![("ip", string(address(&values(&a)?[0], "ip")?.to_string()))])))?;
    global(env, "ip.isCanonical", vec![STRING_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Bool(address(&v[0], "ip.isCanonical")?.to_string() == text(&v[0])))
    })?;
    member(env, "family", MAP_TYPE, vec![], |a| own(Value::Int(if address(&values(&a)?[0], "family")?.is_ipv4() { 4 } else { 6 })))?;
    member(env, "isUnspecified", MAP_TYPE, vec![], |a| own(Value::Bool(address(&values(&a)?[0], "isUnspecified")?.is_unspecified())))?;
    member(env, "isLoopback", MAP_TYPE, vec![], |a| own(Value::Bool(address(&values(&a)?[0], "isLoopback")?.is_loopback())))?;
    global(env, "isCIDR", vec![STRING_TYPE], |a| own(Value::Bool(network(&values(&a)?[0], "isCIDR").is_ok())))?;
    global(env, "cidr", vec![STRING_TYPE], |a| {
        let (ip, bits) = network(&values(&a)?[0], "cidr")?;
        own(tagged("cidr", vec![("cidr", string(format!("{ip}/{bits}")))]))
    })?;
    for of in [STRING_TYPE, MAP_TYPE] {
        let id = format!("k8s_containsIP_{}", of.name());
        env.add_member_overload("containsIP", &id, MAP_TYPE, vec![of], |a| {
            let v = values(&a)?;
            own(Value::Bool(within(network(&v[0], "containsIP")?, address(&v[1], "containsIP")?)))
        })?;
    }
    for of in [STRING_TYPE, MAP_TYPE] {
        let id = format!("k8s_containsCIDR_{}", of.name());
        env.add_member_overload("containsCIDR", &id, MAP_TYPE, vec![of], |a| {
            let v = values(&a)?;
            let (outer, inner) = (network(&v[0], "containsCIDR")?, network(&v[1], "containsCIDR")?);
            own(Value::Bool(inner.1 >= outer.1 && within(outer, inner.0)))
        })?;
    }
    member(env, "prefixLength", MAP_TYPE, vec![], |a| own(Value::Int(i64::from(network(&values(&a)?[0], "prefixLength")?.1))))
}

fn sets(env: &mut Env) -> Result<(), DeclarationError> {
    fn contains(outer: &Value, inner: &Value) -> bool {
        list(inner).iter().all(|x| list(outer).contains(x))
    }
    global(env, "sets.contains", vec![LIST_TYPE, LIST_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Bool(contains(&v[0], &v[1])))
    })?;
    global(env, "sets.equivalent", vec![LIST_TYPE, LIST_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Bool(contains(&v[0], &v[1]) && contains(&v[1], &v[0])))
    })?;
    global(env, "sets.intersects", vec![LIST_TYPE, LIST_TYPE], |a| {
        let v = values(&a)?;
        own(Value::Bool(list(&v[1]).iter().any(|x| list(&v[0]).contains(x))))
    })
}

/// What is wrong with a text, if anything.
type Judge = fn(&str) -> Vec<String>;

/// The named formats.
const FORMATS: &[(&str, Judge)] = &[
    ("dns1123Label", meta::dns_label),
    ("dns1123Subdomain", meta::dns_subdomain),
    ("dns1035Label", meta::dns1035_label),
    ("qualifiedName", meta::qualified_name),
    ("labelValue", meta::label_value),
    ("uri", |t| if super::formats::fits("uri", t) { Vec::new() } else { vec!["invalid URI".into()] }),
    ("uuid", |t| if super::formats::fits("uuid", t) { Vec::new() } else { vec!["does not match the UUID format".into()] }),
    ("byte", |t| if super::formats::fits("byte", t) { Vec::new() } else { vec!["invalid base64".into()] }),
    ("date", |t| if super::formats::fits("date", t) { Vec::new() } else { vec!["invalid date".into()] }),
    ("datetime", |t| if super::formats::fits("datetime", t) { Vec::new() } else { vec!["invalid datetime".into()] }),
];

fn format_of(name: &str) -> Value {
    tagged("format", vec![("format", string(name))])
}

fn formats(env: &mut Env) -> Result<(), DeclarationError> {
    let makers: &[(&str, cel::common::functions::Function)] = &[
        ("format.dns1123Label", |_| own(format_of("dns1123Label"))),
        ("format.dns1123Subdomain", |_| own(format_of("dns1123Subdomain"))),
        ("format.dns1035Label", |_| own(format_of("dns1035Label"))),
        ("format.qualifiedName", |_| own(format_of("qualifiedName"))),
        ("format.labelValue", |_| own(format_of("labelValue"))),
        ("format.uri", |_| own(format_of("uri"))),
        ("format.uuid", |_| own(format_of("uuid"))),
        ("format.byte", |_| own(format_of("byte"))),
        ("format.date", |_| own(format_of("date"))),
        ("format.datetime", |_| own(format_of("datetime"))),
    ];
    for (name, f) in makers {
        global(env, name, vec![], *f)?;
    }
    member(env, "validate", MAP_TYPE, vec![STRING_TYPE], |a| {
        let v = values(&a)?;
        let name = text(field(&v[0], "format")).to_owned();
        let wrong = FORMATS.iter().find(|(n, _)| *n == name).map_or_else(Vec::new, |(_, f)| f(text(&v[1])));
        let found = if wrong.is_empty() {
            OptionalValue::none()
        } else {
            OptionalValue::of(Value::List(Arc::new(wrong.into_iter().map(string).collect())))
        };
        own(Value::Opaque(Arc::new(found)))
    })
}

//! Rows of Services and their kin.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::human::{first_three, labels, list, number, selector_or_none, since, text, text_or};

const CREATED: &str = "/metadata/creationTimestamp";
const NAME: &str = "/metadata/name";

pub(super) fn service(o: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| {
        let (number_, protocol) = (number(port, "/port"), text(port, "/protocol"));
        match number(port, "/nodePort") {
            0 => format!("{number_}/{protocol}"),
            node => format!("{number_}:{node}/{protocol}"),
        }
    };
    let ports: Vec<String> = list(o, "/spec/ports").iter().map(port).collect();
    vec![
        text(o, NAME).into(),
        text(o, "/spec/type").into(),
        text_or(o, "/spec/clusterIPs/0", "<none>").into(),
        external_address(o).into(),
        if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }.into(),
        since(o, CREATED, now).into(),
        labels(o.pointer("/spec/selector")).into(),
    ]
}

fn external_address(o: &Value) -> String {
    let external: Vec<&str> = list(o, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    let or = |addresses: Vec<&str>, absent: &str| if addresses.is_empty() { absent.to_owned() } else { addresses.join(",") };
    match text(o, "/spec/type") {
        "ClusterIP" | "NodePort" => or(external, "<none>"),
        "LoadBalancer" => {
            let balancers = balancers(o);
            or(balancers.iter().map(String::as_str).chain(external).collect(), "<pending>")
        }
        "ExternalName" => text(o, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses of the load balancers, in order.
fn balancers(o: &Value) -> BTreeSet<String> {
    let address = |ingress: &Value| text_or(ingress, "/ip", text(ingress, "/hostname")).to_owned();
    list(o, "/status/loadBalancer/ingress").iter().map(address).filter(|address| !address.is_empty()).collect()
}

pub(super) fn ingress(o: &Value, now: Timestamp) -> Vec<Value> {
    let rules = list(o, "/spec/rules");
    // The first three that name a host are shown; a rule behind the third means "more".
    let (mut hosts, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= hosts.len() == 3;
        let host = text(rule, "/host");
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    let hosts = match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => hosts.join(","),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - 3),
    };
    vec![
        text(o, NAME).into(),
        text_or(o, "/spec/ingressClassName", "<none>").into(),
        hosts.into(),
        balancers(o).into_iter().collect::<Vec<_>>().join(",").into(),
        if list(o, "/spec/tls").is_empty() { "80" } else { "80, 443" }.into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn ingress_class(o: &Value, now: Timestamp) -> Vec<Value> {
    let default = o["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"] == "true";
    let name = text(o, NAME);
    let parameters = o.pointer("/spec/parameters").map_or("<none>".to_owned(), |p| match text(p, "/apiGroup") {
        "" => format!("{}/{}", text(p, "/kind"), text(p, "/name")),
        group => format!("{}.{group}/{}", text(p, "/kind"), text(p, "/name")),
    });
    vec![
        if default { format!("{name} (default)") } else { name.to_owned() }.into(),
        text(o, "/spec/controller").into(),
        parameters.into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn network_policy(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), selector_or_none(o.pointer("/spec/podSelector")).into(), since(o, CREATED, now).into()]
}

pub(super) fn endpoints(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut all: Vec<String> = Vec::new();
    for subset in list(o, "/subsets") {
        let addresses: Vec<&str> = list(subset, "/addresses").iter().map(|a| text(a, "/ip")).collect();
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses.iter().map(ToString::to_string));
        }
        for port in ports {
            let joined = |ip: &&str| {
                if ip.contains(':') { format!("[{ip}]:{}", number(port, "/port")) } else { format!("{ip}:{}", number(port, "/port")) }
            };
            all.extend(addresses.iter().map(joined));
        }
    }
    let shown = match (list(o, "/subsets").is_empty(), all.is_empty()) {
        (true, _) => "<none>".to_owned(),
        (false, true) => String::new(),
        (false, false) => first_three(&all),
    };
    vec![text(o, NAME).into(), shown.into(), since(o, CREATED, now).into()]
}

pub(super) fn endpoint_slice(o: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match (port.get("port").and_then(Value::as_i64), text(port, "/name")) {
        (Some(number), _) => number.to_string(),
        (None, "") if port.get("name").is_none() => "*".to_owned(),
        (None, name) => name.to_owned(),
    };
    let ports: Vec<String> = list(o, "/ports").iter().map(port).collect();
    let addresses =
        |endpoint: &'_ Value| list(endpoint, "/addresses").iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let endpoints: Vec<String> = list(o, "/endpoints").iter().flat_map(addresses).collect();
    vec![
        text(o, NAME).into(),
        text(o, "/addressType").into(),
        first_three(&ports).into(),
        first_three(&endpoints).into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn service_cidr(o: &Value, now: Timestamp) -> Vec<Value> {
    let cidrs: Vec<&str> = list(o, "/spec/cidrs").iter().filter_map(Value::as_str).collect();
    vec![text(o, NAME).into(), cidrs.join(",").into(), since(o, CREATED, now).into()]
}

pub(super) fn ip_address(o: &Value, now: Timestamp) -> Vec<Value> {
    let parent = o.pointer("/spec/parentRef").map_or("<none>".to_owned(), |p| {
        let resource = match text(p, "/group") {
            "" => text(p, "/resource").to_lowercase(),
            group => format!("{}.{group}", text(p, "/resource")).to_lowercase(),
        };
        match text(p, "/namespace") {
            "" => format!("{resource}/{}", text(p, "/name")),
            namespace => format!("{resource}/{namespace}/{}", text(p, "/name")),
        }
    });
    vec![text(o, NAME).into(), parent.into(), since(o, CREATED, now).into()]
}

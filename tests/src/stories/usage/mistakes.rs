//! What a person gets wrong, and what the answer says of it.

use super::one_use::{Use, using};

fn pod(container: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: wrong}}\nspec: {{containers: [{container}]}}\n")
}

fn object(api_version: &str, kind: &str, rest: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: wrong}}\n{rest}")
}

pub(super) fn uses() -> Vec<Use> {
    let mut all = manifests();
    all.extend(commands());
    all
}

fn manifests() -> Vec<Use> {
    vec![
        using("a field that is misspelt", "apply -f -").input(object("v1", "ConfigMap", "daat: {a: b}\n")).refused(
            "Error from server (BadRequest): error when creating \"STDIN\": ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"daat\"",
        ),
        using("a field that is misspelt, deep down", "apply -f -")
            .input(pod("{name: a, image: b, prots: [{containerPort: 80}]}"))
            .refused("strict decoding error: unknown field \"spec.containers[0].prots\""),
        using("only warned of", "apply -f - --validate=warn")
            .input(pod("{name: a, image: registry.example/b, prots: [{containerPort: 80}]}"))
            .is("pod/wrong created")
            .warns("Warning: unknown field \"spec.containers[0].prots\"")
            .then("delete pod wrong --now")
            .says("deleted"),
        using("a kind that is none", "apply -f -").input(object("v1", "ConfgMap", "")).refused(
            "error: resource mapping not found for name: \"wrong\" namespace: \"\" from \"STDIN\": no matches for kind \"ConfgMap\" in version \"v1\"\nensure CRDs are installed first",
        ),
        using("a version that is none", "apply -f -")
            .input(object("apps/v2", "Deployment", ""))
            .refused("no matches for kind \"Deployment\" in version \"apps/v2\"\nensure CRDs are installed first"),
        using("no version", "apply -f -").input("kind: ConfigMap\nmetadata: {name: wrong}\n").refused("error: error validating \"STDIN\": error validating data: apiVersion not set"),
        using("no YAML", "apply -f -").input("not: [yaml\n").refused("error: error parsing STDIN: error converting YAML to JSON: yaml: line 1: did not find expected ',' or ']'"),
        using("a name that is none", "apply -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Wrong_Name}\n")
            .refused("The ConfigMap \"Wrong_Name\" is invalid: metadata.name: Invalid value: \"Wrong_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"),
        using("something left out", "apply -f -").input(pod("{name: a}")).refused("The Pod \"wrong\" is invalid: spec.containers[0].image: Required value"),
        using("several things wrong", "apply -f -")
            .input(pod("{name: a_b, image: x, ports: [{containerPort: 99999}]}"))
            .refused("* spec.containers[0].name: Invalid value: \"a_b\"")
            .warns("* spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive"),
        using("a text where a number belongs", "apply -f -")
            .input(pod("{name: a, image: b, ports: [{containerPort: '80'}]}"))
            .refused("json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32"),
        using("selector and labels that differ", "apply -f -")
            .input(object("apps/v1", "Deployment", "spec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: c}}\n    spec: {containers: [{name: a, image: b}]}\n"))
            .refused("spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`"),
        using("another namespace than the one asked for", "apply -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong, namespace: other}\n")
            .refused("error: the namespace from the provided object \"other\" does not match the namespace \"{ns}\". You must pass '--namespace=other' to perform this operation."),
        using("a namespace that is not there", "run wrong --image=registry.example/app:1 -n nowhere-{ns}").refused("Error from server (NotFound): namespaces \"nowhere-{ns}\" not found"),
        using("too much", "create configmap wrong --from-file=big.txt").file("big.txt", "x".repeat(1_100_000)).refused("ConfigMap \"wrong\" is invalid: []: Too long: may not be more than 1048576 bytes"),
    ]
}

fn commands() -> Vec<Use> {
    vec![
        using("a kind that is misspelt", "get pdo").refused("error: the server doesn't have a resource type \"pdo\""),
        using("a name that is not there", "get deployment web").refused("Error from server (NotFound): deployments.apps \"web\" not found"),
        using("several that are not there", "get pods one two")
            .refused("Error from server (NotFound): pods \"one\" not found\nError from server (NotFound): pods \"two\" not found"),
        using("describe of what is not there", "describe configmap web")
            .refused("Error from server (NotFound): configmaps \"web\" not found"),
        using("a form of output that is none", "get pods -o wde")
            .refused("error: unable to match a printer suitable for the output format \"wde\", allowed formats are:"),
        using("a command that is none", "gte pods").refused("error: unknown command \"gte\" for \"kubectl\"\n\nDid you mean this?\n\tget"),
        using("a flag that is none", "get pods --selectr=a=b").refused("error: unknown flag: --selectr"),
        using("a selector that is none", "get pods -l 'a in (b'").refused("unable to parse requirement"),
        using("a field that explain does not know", "explain pods.spec.containers.imgae").refused("error: field \"imgae\" does not exist"),
        using("a kind that explain does not know", "explain pdo").refused("the server doesn't have a resource type \"pdo\""),
        using("a patch that is none", "patch configmap kube-root-ca.crt --type=patchy -p '{}'")
            .refused("error: --type must be one of [json merge strategic], not \"patchy\""),
        using("a patch of what is not there", "patch deployment web -p '{}'")
            .refused("Error from server (NotFound): deployments.apps \"web\" not found"),
        using("a file that is not there", "apply -f nothing.yaml").refused("error: the path \"nothing.yaml\" does not exist"),
        using("delete of everything by accident", "delete")
            .refused("error: You must provide one or more resources by argument or filename."),
        using("delete without a name", "delete configmap").refused("error: resource(s) were provided, but no name was specified"),
        using("a name with a capital letter", "create namespace Wrong").refused(
            "The Namespace \"Wrong\" is invalid: metadata.name: Invalid value: \"Wrong\": a lowercase RFC 1123 label must consist of",
        ),
        using("a taint that is none", "taint node node-1 a=b:Never")
            .refused("error: invalid taint effect: Never, unsupported taint effect"),
        using("expose of what is not there", "expose deployment web --port=80")
            .refused("Error from server (NotFound): deployments.apps \"web\" not found"),
        using("a raw path that is none", "get --raw /apis/nothing/v1")
            .refused("Error from server (NotFound): the server could not find the requested resource"),
    ]
}

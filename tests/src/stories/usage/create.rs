//! `create` of every generator.

use super::one_use::{Use, using};

/// A certificate of nobody and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["story.example".to_owned()]).expect("a plain certificate can be made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

pub(super) fn uses() -> Vec<Use> {
    let mut all = plain();
    all.extend(access());
    all.extend(services());
    all
}

fn plain() -> Vec<Use> {
    let (certificate, key) = certificate();
    vec![
        using("a config map from literals", "create configmap literals --from-literal=a=1 --from-literal=b=two")
            .is("configmap/literals created")
            .then("get configmap literals -o 'jsonpath={.data.a}-{.data.b}'")
            .is("1-two"),
        using("a config map from files", "create configmap files --from-file=note.txt --from-file=other=note.txt")
            .file("note.txt", "hello\n")
            .is("configmap/files created")
            .then("describe configmap files")
            .says("note.txt:\n----\nhello")
            .says("other:\n----\nhello"),
        using("a config map from a file of variables", "create configmap variables --from-env-file=variables.env")
            .file("variables.env", "# a note\nA=1\nB=x y\n")
            .is("configmap/variables created")
            .then("get configmap variables -o 'jsonpath={.data}'")
            .is(r#"{"A":"1","B":"x y"}"#),
        using("what is there already", "create configmap literals --from-literal=a=1")
            .refused(r#"error: failed to create configmap: configmaps "literals" already exists"#),
        using("a dry run on the server", "create configmap never --from-literal=a=1 --dry-run=server -o name")
            .is("configmap/never")
            .then("get configmap never")
            .refused(r#"Error from server (NotFound): configmaps "never" not found"#),
        using("a dry run here, as YAML", "create configmap never --from-literal=a=1 --dry-run=client -o yaml")
            .says("data:\n  a: \"1\"\nkind: ConfigMap"),
        using("a Deployment", "create deployment web --image=registry.example/web:1 --replicas=2 --port=80")
            .is("deployment.apps/web created")
            .then("get deployment web -o 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort}'")
            .is("2 80"),
        using("a CronJob", "create cronjob tick --image=registry.example/tick:1 --schedule='*/5 * * * *' -- date")
            .is("cronjob.batch/tick created")
            .then("get cronjob tick")
            .like(r"^tick +\*/5 \* \* \* \* +<none> +False +0 +<none> "),
        using("a CronJob that never comes", "create cronjob never --image=registry.example/tick:1 --schedule='5 * *' -- date")
            .refused("spec.schedule: Invalid value: \"5 * *\": expected exactly 5 fields, found 3: [5 * *]"),
        using("a Job", "create job once --image=registry.example/once:1 -- sleep 1")
            .is("job.batch/once created")
            .then("get job once -o 'jsonpath={.spec.template.spec.containers[0].command} {.spec.backoffLimit}'")
            .is(r#"["sleep","1"] 6"#),
        using("a Job from a CronJob", "create job now --from=cronjob/tick")
            .is("job.batch/now created")
            .then("get job now -o 'jsonpath={.metadata.annotations} {.metadata.ownerReferences[0].name}'")
            .is(r#"{"cronjob.kubernetes.io/instantiate":"manual"} tick"#),
        using("an Ingress", "create ingress door --class=front --rule='door.example/path*=web:80,tls=cert' --default-backend=web:80")
            .is("ingress.networking.k8s.io/door created")
            .then("get ingress door")
            .like(r"^door +front +door\.example +80, 443 "),
        using("a PodDisruptionBudget", "create poddisruptionbudget keep --selector=app=web --min-available=50%")
            .is("poddisruptionbudget.policy/keep created")
            .then("get pdb keep")
            .like("^keep +50% +N/A +0 "),
        using("a PriorityClass", "create priorityclass {ns} --value=1000 --description=first --preemption-policy=Never")
            .is("priorityclass.scheduling.k8s.io/{ns} created")
            .then("get priorityclass {ns} -o 'jsonpath={.value} {.preemptionPolicy} {.globalDefault}'")
            .is("1000 Never")
            .then("delete priorityclass {ns}")
            .says("deleted"),
        using("a quota", "create quota few --hard=services.loadbalancers=1,persistentvolumeclaims=0")
            .is("resourcequota/few created")
            .then("get quota few -o 'jsonpath={.spec.hard}'")
            .is(r#"{"persistentvolumeclaims":"0","services.loadbalancers":"1"}"#),
        using("a namespace", "create namespace {ns}-b")
            .is("namespace/{ns}-b created")
            .then("get namespace {ns}-b")
            .like("-b +Active ")
            .then("delete namespace {ns}-b --wait=false")
            .says(r#"namespace "{ns}-b" deleted"#),
        using("a secret", "create secret generic plain --from-literal=k=value --type=example.com/kind")
            .is("secret/plain created")
            .then("get secret plain")
            .like("^plain +example.com/kind +1 ")
            .then("get secret plain -o 'jsonpath={.data.k}'")
            .is("dmFsdWU="),
        using(
            "a secret for a registry",
            "create secret docker-registry registry --docker-server=registry.example --docker-username=u --docker-password=p",
        )
        .is("secret/registry created")
        .then("get secret registry -o 'go-template={{index .data \".dockerconfigjson\" | base64decode}}'")
        .says(r#""registry.example":{"username":"u","password":"p""#),
        using("a secret with a certificate", "create secret tls cert --cert=tls.crt --key=tls.key")
            .file("tls.crt", certificate)
            .file("tls.key", key)
            .is("secret/cert created")
            .then("get secret cert")
            .like("^cert +kubernetes.io/tls +2 "),
    ]
}

fn access() -> Vec<Use> {
    vec![
        using("a service account", "create serviceaccount robot").is("serviceaccount/robot created").then("get sa").like("^robot +"),
        using("a token", "create token robot --duration=1h")
            .like(r"^\S{20,}$")
            .then("create token nobody")
            .refused(r#"error: failed to create token: serviceaccounts "nobody" not found"#),
        using("a token that is too short-lived", "create token robot --duration=1m")
            .refused("spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"),
        using("a role", "create role reader --verb=get,list --resource=pods,deployments.apps,pods/log --resource-name=a")
            .is("role.rbac.authorization.k8s.io/reader created")
            .then("describe role reader")
            .like(r"^  deployments\.apps +\[\] +\[a\] +\[get list\]$")
            .like(r"^  pods/log +\[\] +\[a\] +\[get list\]$"),
        using("a role binding", "create rolebinding readers --role=reader --user=ann --serviceaccount={ns}:robot")
            .is("rolebinding.rbac.authorization.k8s.io/readers created")
            .then("get rolebinding readers -o wide")
            .like("^readers +Role/reader +.* ann +.*/robot$"),
        using("a cluster role", "create clusterrole {ns} --verb=get --non-resource-url='/logs/*'")
            .is("clusterrole.rbac.authorization.k8s.io/{ns} created")
            .then("get clusterrole {ns} -o 'jsonpath={.rules}'")
            .is(r#"[{"nonResourceURLs":["/logs/*"],"verbs":["get"]}]"#),
        using("a cluster role that gathers others", "create clusterrole {ns}-sum --aggregation-rule=story={ns}")
            .says("created")
            .then("get clusterrole {ns}-sum -o 'jsonpath={.aggregationRule.clusterRoleSelectors[0].matchLabels.story}'")
            .is("{ns}")
            .then("delete clusterrole {ns}-sum")
            .says("deleted"),
        using("a cluster role binding", "create clusterrolebinding {ns} --clusterrole={ns} --group=crew")
            .is("clusterrolebinding.rbac.authorization.k8s.io/{ns} created")
            .then("describe clusterrolebinding {ns}")
            .like("^  Group +crew")
            .then("delete clusterrolebinding/{ns} clusterrole/{ns}")
            .says("deleted"),
    ]
}

fn services() -> Vec<Use> {
    vec![
        using("a service with an address of the cluster", "create service clusterip inner --tcp=80:8080")
            .is("service/inner created")
            .then("get service inner")
            .like(r"^inner +ClusterIP +10\.\S+ +<none> +80/TCP "),
        using("a headless service", "create service clusterip headless --clusterip=None")
            .is("service/headless created")
            .then("get service headless")
            .like("^headless +ClusterIP +None +<none> +<none> "),
        using("a service that is a name elsewhere", "create service externalname elsewhere --external-name=example.com")
            .is("service/elsewhere created")
            .then("get service elsewhere")
            .like("^elsewhere +ExternalName +<none> +example.com +<none> "),
        using("a service with a balancer", "create service loadbalancer balanced --tcp=80")
            .is("service/balanced created")
            .then("get service balanced")
            .like(r"^balanced +LoadBalancer +10\.\S+ +<pending> +80:3\d{4}/TCP "),
        using("a service on every node", "create service nodeport everywhere --tcp=80 --node-port=30973")
            .is("service/everywhere created")
            .then("create service nodeport again --tcp=80 --node-port=30973")
            .refused("spec.ports[0].nodePort: Invalid value: 30973: provided port is already allocated")
            .then("create service nodeport below --tcp=80 --node-port=80")
            .refused("provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ]
}

//! Custom resources.

use super::one_use::{Use, using};

const DEFINITION: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.{ns}.example}
spec:
  group: {ns}.example
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.aboard}}
    additionalPrinterColumns:
    - {name: Crew, type: integer, jsonPath: .spec.crew}
    - {name: Sail, type: string, jsonPath: .spec.sail, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A boat at sea.
        properties:
          spec:
            type: object
            required: [crew]
            x-kubernetes-validations: [{rule: 'self.crew < 10', message: too many hands}]
            properties:
              crew: {type: integer, minimum: 1, description: Hands on deck.}
              sail: {type: string, enum: [main, jib], default: main}
              holds:
                type: array
                items: {type: object, required: [name], properties: {name: {type: string}, tons: {type: number}}}
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
          status: {type: object, properties: {aboard: {type: integer}}}
";

const BOAT: &str = "apiVersion: {ns}.example/v1\nkind: Boat\nmetadata: {name: ann}\nspec: {crew: 2, holds: [{name: fore, tons: 1.5}]}\n";

pub(super) fn uses() -> Vec<Use> {
    let changed = |from: &str, to: &str| BOAT.replace(from, to);
    vec![
        using("a definition", "apply -f definition.yaml")
            .file("definition.yaml", DEFINITION)
            .is("customresourcedefinition.apiextensions.k8s.io/boats.{ns}.example created")
            .then("wait --for=condition=Established crd/boats.{ns}.example --timeout=20s")
            .is("customresourcedefinition.apiextensions.k8s.io/boats.{ns}.example condition met")
            .then("api-resources --api-group={ns}.example")
            .soon()
            .like("^boats +bt +{ns}.example/v1 +true +Boat$"),
        using("explain", "explain boats.{ns}.example.spec --recursive")
            .soon()
            .says("KIND:       Boat")
            .like("^  crew\t<integer> -required-$")
            .like("^  sail\t<string>$")
            .like("^  enum: main, jib$")
            .like(r"^    tons\t<number>$")
            .then("explain boats.{ns}.example.spec.crew")
            .says("Hands on deck."),
        using("describe the definition", "describe crd boats.{ns}.example").like("^ +Reason: +InitialNamesAccepted$").like("^ +Kind: +Boat$"),
        using("one of them", "apply -f boat.yaml")
            .file("boat.yaml", BOAT)
            .is("boat.{ns}.example/ann created")
            .then("get bt.{ns}.example")
            .like("^NAME +CREW +AGE$")
            .like("^ann +2 +[0-9]+s$")
            .then("get boats.{ns}.example -o wide")
            .like("^NAME +CREW +SAIL +AGE$")
            .like("^ann +2 +main +"),
        using("a default is filled in", "get boat.{ns}.example ann -o 'jsonpath={.spec.sail}'").is("main"),
        using("describe", "describe boat.{ns}.example ann").like("^Kind: +Boat$").like("^  Crew: +2$").like("^    Tons: +1.5$"),
        using("by its category", "get all -o name").says("boat.{ns}.example/ann"),
        using("apply of a change", "apply -f boat.yaml").file("boat.yaml", changed("1.5", "2.5")).is("boat.{ns}.example/ann configured"),
        using("diff", "diff -f next.yaml").file("next.yaml", changed("crew: 2", "crew: 3")).code(1).like(r"^\+  crew: 3$"),
        using("scale", "scale boat.{ns}.example/ann --replicas=5")
            .is("boat.{ns}.example/ann scaled")
            .then("get boat.{ns}.example ann --subresource=scale -o 'jsonpath={.kind} {.spec.replicas}'")
            .is("Scale 5"),
        using("patch", "patch boat.{ns}.example ann --type=merge -p '{\"spec\":{\"sail\":\"jib\"}}'")
            .is("boat.{ns}.example/ann patched")
            .then("patch boat.{ns}.example ann --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/crew\",\"value\":4}]'")
            .is("boat.{ns}.example/ann patched")
            .then("get boat.{ns}.example ann -o 'jsonpath={.spec.crew} {.spec.sail}'")
            .is("4 jib"),
        using("no strategic patch", "patch boat.{ns}.example ann -p '{\"spec\":{\"crew\":3}}'")
            .refused("error: application/strategic-merge-patch+json is not supported by {ns}.example/v1, Kind=Boat: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"),
        using("patch of the status", "patch boat.{ns}.example ann --subresource=status --type=merge -p '{\"spec\":{\"crew\":9},\"status\":{\"aboard\":3}}'")
            .is("boat.{ns}.example/ann patched")
            .then("get boat.{ns}.example ann -o 'jsonpath={.spec.crew} {.status.aboard}'")
            .is("4 3"),
        using("edit", "edit boat.{ns}.example ann").editor("sed -i s/crew:.*/crew:\\ 7/").is("boat.{ns}.example/ann edited"),
        using("server-side apply merges lists by key", "apply --server-side --field-manager=one -f -")
            .input(changed("ann", "bea"))
            .is("boat.{ns}.example/bea serverside-applied")
            .then("apply --server-side --field-manager=other -f -")
            .input(changed("ann", "bea").replace("fore", "aft"))
            .is("boat.{ns}.example/bea serverside-applied")
            .then("get boat.{ns}.example bea -o 'jsonpath={.spec.holds[*].name}'")
            .is("fore aft")
            .then("delete boat.{ns}.example bea")
            .says("deleted"),
        using("server-side apply takes over what was applied from here", "apply --server-side -f -")
            .input("apiVersion: {ns}.example/v1\nkind: Boat\nmetadata: {name: ann}\nspec: {crew: 7, holds: [{name: aft, tons: 1}]}\n")
            .is("boat.{ns}.example/ann serverside-applied")
            .then("get boat.{ns}.example ann -o 'jsonpath={.spec.holds[*].name}'")
            .is("aft"),
        using("a number that is too small", "patch boat.{ns}.example ann --type=merge -p '{\"spec\":{\"crew\":0}}'")
            .refused("The Boat \"ann\" is invalid: spec.crew: Invalid value: 0: spec.crew in body should be greater than or equal to 1"),
        using("a rule", "patch boat.{ns}.example ann --type=merge -p '{\"spec\":{\"crew\":12}}'")
            .refused("The Boat \"ann\" is invalid: spec: Invalid value: too many hands"),
        using("an enum", "create -f -").input(changed("crew: 2", "crew: 2, sail: spinnaker")).refused("spec.sail: Unsupported value: \"spinnaker\": supported values: \"main\", \"jib\""),
        using("a field that is none", "create -f -").input(changed("name: ann", "name: bob").replace("crew: 2", "crew: 2, mast: 1")).refused(
            "Error from server (BadRequest): error when creating \"STDIN\": Boat in version \"v1\" cannot be handled as a Boat: strict decoding error: unknown field \"spec.mast\"",
        ),
        using("a field that is none, in apply", "apply -f -").input(changed("crew: 2", "crew: 2, mast: 1")).refused("strict decoding error: unknown field \"spec.mast\""),
        using("gone", "delete boats.{ns}.example --all")
            .is("boat.{ns}.example \"ann\" deleted from {ns} namespace")
            .then("delete crd boats.{ns}.example")
            .is("customresourcedefinition.apiextensions.k8s.io \"boats.{ns}.example\" deleted")
            .then("get boats.{ns}.example")
            .soon()
            .refused("error: the server doesn't have a resource type \"boats\""),
    ]
}

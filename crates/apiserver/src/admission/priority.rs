//! Priority classes of pods.

use serde_json::Value;

use crate::json;
use crate::kinds::Env;
use crate::status::ApiError;
use crate::write::Target;

const LOG: &str = "scheduling.k8s.io/priorityclasses";

/// Turns the class of a pod into a number.
pub(crate) fn resolve(env: &Env<'_>, target: &Target, doc: &mut Value) -> Result<(), ApiError> {
    let name = json::text(doc, "metadata.name").to_owned();
    let class_name = json::text(doc, "spec.priorityClassName").to_owned();
    let class = if class_name.is_empty() {
        global_default(env)
    } else {
        let found = env.server.store.get(LOG, &class_name);
        let doc: Option<Value> = found.and_then(|s| serde_json::from_slice(&s.bytes).ok());
        match doc {
            Some(d) => Some(d),
            None => {
                let why = format!("no PriorityClass with name {class_name} was found");
                return Err(ApiError::forbidden(&target.served, &name, why));
            }
        }
    };
    let value = class.as_ref().and_then(|c| json::int(c, "value")).unwrap_or(0);
    let preemption = class.as_ref().map_or("", |c| json::text(c, "preemptionPolicy"));
    let preemption = if preemption.is_empty() { "PreemptLowerPriority" } else { preemption }.to_owned();
    if let Some(given) = json::int(doc, "spec.priority").filter(|g| *g != value) {
        return Err(ApiError::forbidden(
            &target.served,
            &name,
            format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            ),
        ));
    }
    let given = json::text(doc, "spec.preemptionPolicy").to_owned();
    if !given.is_empty() && given != preemption {
        return Err(ApiError::forbidden(
            &target.served,
            &name,
            format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {preemption} from the given PriorityClass name"
            ),
        ));
    }
    let spec = json::object_mut(doc, "spec");
    if class_name.is_empty()
        && let Some(c) = &class
    {
        spec.insert("priorityClassName".into(), json::text(c, "metadata.name").into());
    }
    spec.insert("priority".into(), value.into());
    spec.insert("preemptionPolicy".into(), preemption.into());
    Ok(())
}

fn global_default(env: &Env<'_>) -> Option<Value> {
    let (_, items) = env.server.store.list(LOG, "");
    // Hardly any class is the default, and every pod asks: the documents are not read for that.
    const MARK: &str = "\"globalDefault\":true";
    items
        .iter()
        .filter(|s| std::str::from_utf8(&s.bytes).is_ok_and(|text| text.contains(MARK)))
        .filter_map(|s| serde_json::from_slice::<Value>(&s.bytes).ok())
        .filter(|c| c["globalDefault"].as_bool() == Some(true))
        .min_by_key(|c| json::int(c, "value").unwrap_or(0))
}

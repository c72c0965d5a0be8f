use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Job, LabelledPod, Replicated, SCALED_JOB_LABEL, ScaleAnswer};
use crate::definition::TargetReference;
use crate::health::Resource;
use crate::model::{ScaleTarget, TargetProblem, WorkloadId};
use crate::selector::Selector;
use crate::selector_index::SelectorIndex;

/// What is known of one namespace, and which of its workloads look at what.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) pods: HashMap<String, LabelledPod>,
    pub(super) replicated: HashMap<(Resource, String), Replicated>,
    pub(super) jobs: HashMap<String, Job>,
    /// Resources that were listed at least once since their watch began.
    pub(super) listed: HashSet<Resource>,
    /// Why a resource could not be listed yet.
    pub(super) problems: HashMap<Resource, String>,
    pub(super) workloads: BTreeSet<WorkloadId>,
    pub(super) by_target: HashMap<TargetReference, BTreeSet<WorkloadId>>,
    pub(super) selectors: SelectorIndex,
}

impl Namespace {
    pub(super) fn target(
        &self,
        resource: Resource,
        reference: &TargetReference,
        namespace: &str,
    ) -> ScaleAnswer {
        let TargetReference {
            api_version,
            kind,
            name,
        } = reference;
        self.require(resource, kind, name)?;
        let target = |spec_replicas, status_replicas, selector: &Selector| ScaleTarget {
            api_version: api_version.clone(),
            kind: kind.clone(),
            name: name.clone(),
            spec_replicas,
            status_replicas,
            selector: selector.to_string(),
            stale: None,
        };
        if resource == Resource::Jobs {
            let selector = Selector::equal(SCALED_JOB_LABEL, name);
            let running = self
                .jobs
                .values()
                .filter(|job| job.scaled_job == *name && !job.finished)
                .count();
            let running = u32::try_from(running).unwrap_or(u32::MAX);
            return Ok((target(running, running, &selector), selector));
        }
        let found =
            self.replicated
                .get(&(resource, name.clone()))
                .ok_or_else(|| TargetProblem::NotFound {
                    kind: kind.clone(),
                    name: name.clone(),
                    namespace: namespace.to_owned(),
                })?;
        let selector = found.selector.clone().map_err(|reason| TargetProblem::Selector {
            kind: kind.clone(),
            name: name.clone(),
            reason,
        })?;
        Ok((
            target(found.spec_replicas, found.status_replicas, &selector),
            selector,
        ))
    }

    /// Objects of `resource` must have been listed before anything is said about the target `kind`
    /// `name`.
    pub(super) fn require(&self, resource: Resource, kind: &str, name: &str) -> Result<(), TargetProblem> {
        if self.listed.contains(&resource) {
            return Ok(());
        }
        let is_pods = resource == Resource::Pods;
        let Some(problem) = self.problems.get(&resource) else {
            return Err(TargetProblem::NotYet {
                what: if is_pods { "the pods" } else { "the scale target" },
            });
        };
        let reason = if is_pods {
            format!("its pods: {problem}")
        } else {
            problem.clone()
        };
        Err(TargetProblem::Failed {
            kind: kind.to_owned(),
            name: name.to_owned(),
            reason,
        })
    }

    /// The workloads whose target is the object `name` of `resource`.
    pub(super) fn named(&self, resource: Resource, name: &str) -> BTreeSet<WorkloadId> {
        let Some((api_version, kind)) = resource.target_kind() else {
            return BTreeSet::new();
        };
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        let reference = TargetReference {
            api_version,
            kind,
            name: name.to_owned(),
        };
        self.by_target.get(&reference).cloned().unwrap_or_default()
    }
}

use std::time::Duration;

use proptest::prelude::*;
use rheostat_reading::Timestamp;

use super::*;
use crate::model::{HpaTolerances, PodPhase};

/// What is true in a small cluster: two namespaces, three names, three values of label `app`.
#[derive(Clone, Debug, Default)]
struct World {
    /// Scaled object to the Deployment it names.
    definitions: BTreeMap<(String, String), String>,
    /// Deployment to the `app` that it selects and its replicas.
    deployments: BTreeMap<(String, String), (String, u32)>,
    /// Pod to its `app` and whether it is ready.
    pods: BTreeMap<(String, String), (String, bool)>,
}

#[derive(Clone, Debug)]
enum Step {
    Define(String, String, String),
    Undefine(String, String),
    ListDefinitions,
    Deploy(String, String, String, u32),
    Undeploy(String, String),
    ListDeployments(String),
    AddPod(String, String, String, bool),
    RemovePod(String, String),
    ListPods(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let space = || "[ab]";
    let name = || "[xyz]";
    let app = || "[123]";
    let step = prop_oneof![
        3 => (space(), name(), name()).prop_map(|(s, n, t)| Step::Define(s, n, t)),
        1 => (space(), name()).prop_map(|(s, n)| Step::Undefine(s, n)),
        1 => Just(Step::ListDefinitions),
        3 => (space(), name(), app(), 0..3_u32).prop_map(|(s, n, a, r)| Step::Deploy(s, n, a, r)),
        1 => (space(), name()).prop_map(|(s, n)| Step::Undeploy(s, n)),
        1 => space().prop_map(Step::ListDeployments),
        4 => (space(), name(), app(), any::<bool>()).prop_map(|(s, n, a, r)| Step::AddPod(s, n, a, r)),
        1 => (space(), name()).prop_map(|(s, n)| Step::RemovePod(s, n)),
        1 => space().prop_map(Step::ListPods),
    ];
    proptest::collection::vec(step, 0..60)
}

fn reference(name: &str) -> TargetReference {
    TargetReference {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: name.into(),
    }
}

fn definition(namespace: &str, name: &str, target: &str) -> Definition {
    let workload = Workload {
        id: WorkloadId {
            namespace: namespace.into(),
            name: name.into(),
            kind: WorkloadKind::ScaledObject,
        },
        uid: String::new(),
        generation: 1,
        triggers: Vec::new(),
        other_triggers: 0,
        min_replicas: 0,
        max_replicas: 1,
        idle_replicas: None,
        polling_interval: Duration::ZERO,
        cooldown_period: Duration::ZERO,
        paused: false,
        annotations: BTreeMap::new(),
        tolerances: HpaTolerances::default(),
        scale_down_stabilization: None,
        target: Err(TargetProblem::NotYet {
            what: "the scale target",
        }),
        pods: Arc::new([]),
    };
    Definition {
        workload,
        target: Ok(reference(target)),
    }
}

fn deployment(name: &str, (app, replicas): &(String, u32)) -> Replicated {
    Replicated {
        name: name.into(),
        spec_replicas: *replicas,
        status_replicas: *replicas,
        selector: Ok(Selector::equal("app", app)),
    }
}

fn pod(namespace: &str, name: &str, (app, ready): &(String, bool)) -> LabelledPod {
    let pod = Pod {
        namespace: namespace.into(),
        name: name.into(),
        uid: String::new(),
        node: None,
        phase: PodPhase::Running,
        ready: *ready,
        terminating: false,
        created_at: Timestamp::default(),
        scheduled_at: None,
        started_at: None,
        ready_since: None,
        unready_since: None,
        gpus_requested: 0,
        resource_claims: 0,
        host_network: false,
        ip: None,
        ports: Vec::new(),
        annotations: BTreeMap::new(),
    };
    LabelledPod {
        pod: Arc::new(pod),
        labels: [("app".to_owned(), app.clone())].into(),
    }
}

fn within<'a, T>(
    all: &'a BTreeMap<(String, String), T>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    all.iter()
        .filter(move |(key, _)| key.0 == namespace)
        .map(|(key, value)| (key.1.as_str(), value))
}

impl World {
    fn list(&self, index: &mut Index, resource: Resource, namespace: &str) {
        if resource == Resource::Pods {
            let pods = within(&self.pods, namespace).map(|(name, value)| pod(namespace, name, value));
            index.pods(namespace, Change::Listed(pods.collect()));
        } else {
            let all = within(&self.deployments, namespace).map(|(name, value)| deployment(name, value));
            index.replicated(resource, namespace, Change::Listed(all.collect()));
        }
    }

    /// Changes the world and, like a watch would, tells the index.
    fn take(&mut self, step: Step, index: &mut Index) {
        let kind = WorkloadKind::ScaledObject;
        let gone = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        match step {
            Step::Define(space, name, target) => {
                index.definitions(kind, None, Change::Put(definition(&space, &name, &target)));
                self.definitions.insert((space, name), target);
            }
            Step::Undefine(namespace, name) => {
                self.definitions.remove(&gone(&namespace, &name));
                index.definitions(kind, None, Change::Gone { namespace, name });
            }
            Step::ListDefinitions => {
                let all = self
                    .definitions
                    .iter()
                    .map(|(key, target)| definition(&key.0, &key.1, target));
                index.definitions(kind, None, Change::Listed(all.collect()));
            }
            Step::Deploy(space, name, app, replicas) => {
                let value = (app, replicas);
                index.replicated(
                    Resource::Deployments,
                    &space,
                    Change::Put(deployment(&name, &value)),
                );
                self.deployments.insert((space, name), value);
            }
            Step::Undeploy(namespace, name) => {
                self.deployments.remove(&gone(&namespace, &name));
                index.replicated(
                    Resource::Deployments,
                    &namespace.clone(),
                    Change::Gone { namespace, name },
                );
            }
            Step::AddPod(space, name, app, ready) => {
                let value = (app, ready);
                index.pods(&space, Change::Put(pod(&space, &name, &value)));
                self.pods.insert((space, name), value);
            }
            Step::RemovePod(namespace, name) => {
                self.pods.remove(&gone(&namespace, &name));
                index.pods(&namespace.clone(), Change::Gone { namespace, name });
            }
            Step::ListDeployments(space) => self.list(index, Resource::Deployments, &space),
            Step::ListPods(space) => self.list(index, Resource::Pods, &space),
        }
    }

    /// What must come out, worked out from the whole world.
    fn workloads(&self) -> BTreeMap<WorkloadId, Workload> {
        let of = |((space, name), target): (&(String, String), &String)| {
            let mut workload = definition(space, name, target).workload;
            match self.deployments.get(&(space.clone(), target.clone())) {
                None => {
                    workload.target = Err(TargetProblem::NotFound {
                        kind: "Deployment".into(),
                        name: target.clone(),
                        namespace: space.clone(),
                    });
                }
                Some((app, replicas)) => {
                    workload.target = Ok(ScaleTarget {
                        api_version: "apps/v1".into(),
                        kind: "Deployment".into(),
                        name: target.clone(),
                        spec_replicas: *replicas,
                        status_replicas: *replicas,
                        selector: format!("app={app}"),
                        stale: None,
                    });
                    let mine = within(&self.pods, space).filter(|(_, value)| value.0 == *app);
                    workload.pods = mine.map(|(name, value)| pod(space, name, value).pod).collect();
                }
            }
            (workload.id.clone(), workload)
        };
        self.definitions.iter().map(of).collect()
    }
}

proptest! {
    #[test]
    fn step_by_step_is_the_same_as_all_at_once(steps in steps()) {
        let mut world = World::default();
        let mut index = Index::default();
        let mut watched = BTreeSet::new();
        let mut seen: BTreeMap<WorkloadId, Workload> = BTreeMap::new();
        for step in steps {
            world.take(step, &mut index);
            // What the driver does: begin the watches that are needed now, end the others.
            index.take_needs_changed();
            let (needed, _) = index.needs();
            for watch in watched.difference(&needed) {
                index.forget(watch);
            }
            for watch in needed.difference(&watched) {
                world.list(&mut index, watch.resource, watch.namespace.as_deref().unwrap());
            }
            watched = needed;
            for (id, workload) in index.take_changes() {
                match workload {
                    Some(workload) => drop(seen.insert(id, workload)),
                    None => drop(seen.remove(&id)),
                }
            }
            prop_assert_eq!(&seen, &world.workloads());
            prop_assert!(!index.pending());
        }
    }
}

#[test]
fn only_what_changed_is_built_again() {
    let mut index = Index::default();
    for name in ["x", "y"] {
        index.definitions(
            WorkloadKind::ScaledObject,
            None,
            Change::Put(definition("a", name, name)),
        );
    }
    let apps = [("x", "1"), ("y", "2")].map(|(name, app)| deployment(name, &(app.to_owned(), 1)));
    index.replicated(Resource::Deployments, "a", Change::Listed(apps.into()));
    index.pods("a", Change::Listed(Vec::new()));
    assert_eq!(index.take_changes().len(), 2);
    let changed = |index: &mut Index| -> Vec<String> {
        index.take_changes().into_iter().map(|(id, _)| id.name).collect()
    };
    let ours = pod("a", "p", &("1".to_owned(), true));
    index.pods("a", Change::Put(ours.clone()));
    assert_eq!(changed(&mut index), ["x"]);
    index.pods("a", Change::Put(ours));
    assert!(
        changed(&mut index).is_empty(),
        "nothing that we look at has changed"
    );
    index.pods("a", Change::Put(pod("a", "p", &("2".to_owned(), true))));
    assert_eq!(
        changed(&mut index),
        ["x", "y"],
        "it left one and joined the other"
    );
    index.pods("a", Change::Put(pod("a", "q", &("3".to_owned(), true))));
    assert!(changed(&mut index).is_empty());
}

#[test]
fn a_workload_whose_pods_were_not_listed_says_so() {
    let mut index = Index::default();
    index.definitions(
        WorkloadKind::ScaledObject,
        None,
        Change::Put(definition("a", "x", "x")),
    );
    index.replicated(
        Resource::Deployments,
        "a",
        Change::Listed(vec![deployment("x", &("1".to_owned(), 2))]),
    );
    let target = |index: &mut Index| index.take_changes().pop().unwrap().1.unwrap().target;
    assert_eq!(
        target(&mut index),
        Err(TargetProblem::NotYet { what: "the pods" })
    );
    assert!(index.pending());
    index.problem(Resource::Pods, "a", "forbidden".into());
    assert_eq!(
        target(&mut index).unwrap_err().to_string(),
        "Deployment x cannot be read: its pods: forbidden"
    );
    index.pods("a", Change::Listed(Vec::new()));
    assert!(target(&mut index).is_ok());
    assert!(!index.pending());
}

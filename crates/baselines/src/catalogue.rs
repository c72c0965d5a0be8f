use crate::baseline::{Baseline, BaselineError};
use crate::baselines::{
    aibrix, concurrency, demand, dynamo, fixed, hpa, kaito, knative, llm_d, oracle, peer, production_stack,
    ray_serve, sageserve, wva,
};
use crate::context::Context;

/// Every baseline, for this workload; the same context gives the same list in the same order.
///
/// What a search tries depends on the context: targets go with the engine's slots, floors and caps with
/// the replicas allowed.
#[must_use]
pub fn catalogue(context: &Context) -> Vec<Baseline> {
    vec![
        fixed::fixed(context),
        fixed::peak(context),
        hpa::gpu_utilization(context),
        hpa::gke_queue_size(context),
        hpa::gke_batch_size(context),
        peer::inference(context),
        peer::queue_depth(context),
        llm_d::blueprint(context),
        llm_d::endpoint_picker(context),
        llm_d::queue_value(context),
        production_stack::baseline(context),
        knative::baseline(context),
        aibrix::apa(context),
        aibrix::kpa(context),
        wva::saturation::baseline(context),
        wva::tokens::baseline(context),
        ray_serve::baseline(context),
        kaito::baseline(context),
        dynamo::throughput(context),
        dynamo::load(context),
        dynamo::sla(context),
        sageserve::reactive(context),
        sageserve::long_term::online(context),
        sageserve::long_term::in_sample(context),
        sageserve::chiron::baseline(context),
        concurrency::baseline(context),
        demand::baseline(context),
        oracle::baseline(context),
    ]
}

/// The baseline of this name.
///
/// # Errors
/// If there is none, with the names that there are.
pub fn find(name: &str, context: &Context) -> Result<Baseline, BaselineError> {
    let mut all = catalogue(context);
    all.iter()
        .position(|baseline| baseline.name == name)
        .map(|index| all.swap_remove(index))
        .ok_or_else(|| BaselineError::UnknownBaseline {
            name: name.to_owned(),
            allowed: catalogue(context)
                .iter()
                .map(|baseline| baseline.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

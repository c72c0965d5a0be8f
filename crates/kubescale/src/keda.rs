//! KEDA's operator for one ScaledObject or ScaledJob, without its calls: those are in
//! [`crate::Autoscaler`].

mod conditions;
mod fallback;
pub mod jobs;
mod push;
mod read;
mod scale;
mod settings;

pub use conditions::{Condition, Conditions, Status};
pub(crate) use fallback::{Health, Record};
pub(crate) use push::PushStreams;
pub(crate) use read::{Next, ReadContext, Stored, TriggerRead};
pub use scale::ScaleCause;
pub(crate) use scale::{Activity, ScaleState};
pub use settings::{
    Advanced, Annotations, Fallback, FallbackBehavior, HpaConfig, InvalidScaledObject, ScaledObject,
    ScaledObjectSpec, Trigger, TriggerType,
};

use rheostat_reading::Quantity;

use crate::parse::{Parser, invalid};
use crate::{
    Load, MAIN_SIGNAL, NamedSignal, PEER_PROFILES, PeerMeaning, Profile, ProfileLoad, Signal, SignalUnit,
    TriggerError, peer,
};

/// What a key says the signal is, and how its targets are to be read.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) key: &'static str,
    pub(crate) value: &'a str,
    pub(crate) signal: Signal,
    /// What a `targetValue` is multiplied by.
    pub(crate) factor: f64,
}

/// What a trigger scales by, before its signals are known.
#[derive(Clone, Copy)]
pub(crate) enum Chosen<'a> {
    Signal(Signal),
    /// With the key that it stands under.
    Expression(&'static str, &'a str),
}

impl<'a> Parser<'a> {
    pub(crate) fn profile(&mut self) -> Result<Option<Profile>, TriggerError> {
        let Some(name) = self.get("profile") else {
            return Ok(None);
        };
        let ours = name.parse::<Profile>().ok();
        let profile = match (ours, peer::find(PEER_PROFILES, name)) {
            (ours, Some(PeerMeaning::Profile { profile, changed })) => {
                // A name that is both the peer's and ours is the peer's beside the peer's keys.
                if ours.is_none() || self.has_peer_keys() {
                    self.warn("profile", format!("{name} is taken as {profile}: {changed}"));
                }
                let percent = ProfileLoad::Signal(Signal::Gpu(Quantity::DutyCycle));
                self.foreign_numbers = ours.is_none() && profile.load() != percent;
                profile
            }
            (Some(ours), _) => ours,
            (None, _) => {
                let names = Profile::ALL.iter().map(|profile| profile.name());
                let peers = PEER_PROFILES
                    .iter()
                    .filter(|entry| matches!(entry.1, PeerMeaning::Profile { .. }));
                let others = peers
                    .map(|entry| entry.0)
                    .filter(|name| name.parse::<Profile>().is_err());
                return Err(invalid(
                    "profile",
                    name,
                    names.chain(others).collect::<Vec<_>>().join(", "),
                ));
            }
        };
        Ok(Some(profile))
    }

    /// The signal as keys other than the profile name it; those that do must agree.
    pub(crate) fn said_signal(&mut self) -> Result<Option<Said<'a>>, TriggerError> {
        let mut said: Option<Said<'a>> = None;
        let named = [
            self.get("signal").map(our_signal).transpose()?,
            self.peers_metric_type()?,
            self.peers_target("targetGpuUtilization", "gpu_utilization"),
            self.peers_target("targetMemoryUtilization", "memory_used_percent"),
        ];
        for new in named.into_iter().flatten() {
            match said {
                Some(old) if old.signal != new.signal => {
                    return Err(TriggerError::Conflict {
                        one: format!("{} {:?} ({})", old.key, old.value, old.signal),
                        other: format!("{} {:?} ({})", new.key, new.value, new.signal),
                        hint: "a trigger has one signal, or an expression of named ones: signal.NAME and expression",
                    });
                }
                // The peer's unit stays with the peer's key.
                Some(old) if old.key == "metricType" => {}
                _ => said = Some(new),
            }
        }
        Ok(said)
    }

    /// What the trigger scales by: an expression or a signal, whichever it names, else that of
    /// its profile.
    pub(crate) fn chosen(
        &mut self,
        profile: Option<Profile>,
        said: Option<Said<'a>>,
    ) -> Result<Chosen<'a>, TriggerError> {
        let expression = self.get("expression");
        if let (Some(text), Some(said)) = (expression, said) {
            return Err(TriggerError::Conflict {
                one: format!("expression {text:?}"),
                other: format!("{} {:?} ({})", said.key, said.value, said.signal),
                hint: "a trigger scales by one of them; give the signal a name, signal.NAME, and use that in the expression",
            });
        }
        Ok(match (expression, said, profile.map(Profile::load)) {
            (Some(text), ..) => Chosen::Expression("expression", text),
            (None, Some(said), _) => Chosen::Signal(said.signal),
            (None, None, Some(ProfileLoad::Signal(signal))) => Chosen::Signal(signal),
            (None, None, Some(ProfileLoad::Expression(text))) => Chosen::Expression("profile", text),
            (None, None, None) => Chosen::Signal(self.peers_default_signal()?),
        })
    }

    pub(crate) fn applies(&mut self, profile: Option<Profile>, chosen: Chosen<'_>) -> Option<Profile> {
        let profile = profile?;
        let applies = match (profile.load(), chosen) {
            (ProfileLoad::Signal(of_profile), Chosen::Signal(signal)) => of_profile == signal,
            (ProfileLoad::Expression(_), Chosen::Expression(key, _)) => key == "profile",
            _ => false,
        };
        if applies {
            return Some(profile);
        }
        let asked = match chosen {
            Chosen::Signal(signal) => signal.to_string(),
            Chosen::Expression(_, text) => text.to_owned(),
        };
        self.warn("profile", format!("{profile} scales by {}; {asked} was asked for and is used, without the profile's target and activation", profile.load()));
        None
    }

    /// The signals, what is made of them, and its unit.
    pub(crate) fn load(
        &mut self,
        profile: Option<Profile>,
        chosen: Chosen<'_>,
    ) -> Result<(Vec<NamedSignal>, Load, SignalUnit), TriggerError> {
        let mut signals = Vec::new();
        if let Chosen::Signal(signal) = chosen {
            signals.push(self.named_signal(MAIN_SIGNAL, signal, self.quantile)?);
        }
        signals.extend(self.named_signals()?);
        for (name, signal) in profile.map_or(&[][..], Profile::signals) {
            // One of that name that the trigger gives is meant to replace it.
            if !signals.iter().any(|signal| signal.name == *name) {
                signals.push(self.named_signal(name, *signal, self.quantile)?);
            }
        }
        let (load, unit) = match chosen {
            Chosen::Signal(signal) => {
                if self.get("over").is_some() {
                    self.warn("over", "ignored: it says how an expression is computed".into());
                }
                (Load::Signal(signal), signal.unit())
            }
            Chosen::Expression(key, text) => self.load_expression(key, text, &signals)?,
        };
        Ok((signals, load, unit))
    }
}

fn our_signal(value: &str) -> Result<Said<'_>, TriggerError> {
    if let Ok(signal) = value.parse() {
        return Ok(Said {
            key: "signal",
            value,
            signal,
            factor: 1.0,
        });
    }
    let source = value.split('.').next().unwrap_or_default();
    let instead = "one of the other signals, an expression or a profile";
    let needs = match source {
        "gateway" => "the gateway",
        "policy" => {
            return Err(invalid(
                "signal",
                value,
                "policy: NAME instead, with the name of a ScalingPolicy in the workload's own namespace",
            ));
        }
        _ => return Err(invalid("signal", value, all_signals_and_profiles())),
    };
    Err(TriggerError::NotInThisVersion {
        key: "signal".into(),
        value: value.into(),
        needs,
        instead,
    })
}

pub(crate) fn all_signals() -> String {
    Signal::all().map(Signal::name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn all_signals_and_profiles() -> String {
    let signals = all_signals();
    let profiles = Profile::ALL
        .iter()
        .map(|profile| profile.name())
        .collect::<Vec<_>>()
        .join(", ");
    format!("signal: {signals}; or profile: {profiles}")
}

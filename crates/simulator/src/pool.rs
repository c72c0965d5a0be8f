use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agenda::{Agenda, Event};
use crate::nodes::NodePool;
use crate::time::{Picoseconds, from_seconds, picoseconds, seconds};

/// The nodes of a [`NodePool`] as they are.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    settings: NodePool,
    seed: u64,
    /// GPUs of one replica.
    gpus: u32,
    nodes: BTreeMap<u64, Node>,
    made: u64,
    /// A stock-out is being waited for.
    waits: bool,
    scored_from: Picoseconds,
    /// Node time of nodes that are gone.
    past: Picoseconds,
}

#[derive(Clone, Debug)]
struct Node {
    up: Option<Picoseconds>,
    standing: bool,
    leaving: bool,
    free: u32,
    /// The image is there.
    image: bool,
    empty_since: Option<Picoseconds>,
}

/// Where a replica was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: u64,
    /// Whether the node has the image.
    pub(crate) image: bool,
}

impl Pool {
    /// The standing nodes, and as many others as `warm` replicas need.
    pub(crate) fn new(
        settings: &NodePool,
        gpus: u32,
        warm: u32,
        seed: u64,
        scored_from: Picoseconds,
        agenda: &mut Agenda,
    ) -> Self {
        let mut this = Self {
            settings: settings.clone(),
            seed,
            gpus,
            nodes: BTreeMap::new(),
            made: 0,
            waits: false,
            scored_from,
            past: 0,
        };
        let needed = warm
            .div_ceil(settings.gpus_per_node / gpus)
            .max(settings.standing);
        for number in 0..needed {
            let id = this.order(number < settings.standing);
            this.up(0, id, agenda);
            if let Some(node) = this.nodes.get_mut(&id) {
                node.image = true;
            }
        }
        this
    }

    /// Replicas that the quota has room for.
    pub(crate) const fn room(&self) -> u32 {
        self.settings.max_gpus / self.settings.gpus_per_node * (self.settings.gpus_per_node / self.gpus)
    }

    /// Puts a replica on a node that has room, the fullest of them.
    pub(crate) fn place(&mut self) -> Option<Place> {
        let fits = |node: &Node| node.up.is_some() && !node.leaving && node.free >= self.gpus;
        let (&id, node) = self
            .nodes
            .iter_mut()
            .filter(|(_, node)| fits(node))
            .min_by_key(|(_, node)| node.free)?;
        node.free -= self.gpus;
        node.empty_since = None;
        let image = std::mem::replace(&mut node.image, true);
        Some(Place { node: id, image })
    }

    /// Orders nodes for so many replicas that have none, as the quota and the market allow.
    pub(crate) fn provide(&mut self, now: Picoseconds, pending: usize, agenda: &mut Agenda) {
        let per_node = (self.settings.gpus_per_node / self.gpus) as usize;
        let coming = self.nodes.values().filter(|node| node.up.is_none()).count();
        let missing = pending.div_ceil(per_node).saturating_sub(coming);
        for _ in 0..missing {
            let gpus = (self.nodes.len() as u64 + 1) * u64::from(self.settings.gpus_per_node);
            if gpus > u64::from(self.settings.max_gpus) {
                return;
            }
            if let Some(end) = self.stock_out(now) {
                if !self.waits {
                    self.waits = true;
                    agenda.add(end, Event::StockOutEnds);
                }
                return;
            }
            let id = self.order(false);
            let mut random = self.random(id);
            agenda.add(now + self.settings.provision.draw(&mut random), Event::NodeUp(id));
        }
    }

    /// A stock-out has ended.
    pub(crate) const fn stocked(&mut self) {
        self.waits = false;
    }

    /// A node that was ordered is there.
    pub(crate) fn up(&mut self, now: Picoseconds, id: u64, agenda: &mut Agenda) {
        let mut random = self.random(id);
        // What the provisioning drew.
        let _ = self.settings.provision.draw(&mut random);
        let life: f64 = -(1.0 - random.random::<f64>()).ln();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.up = Some(now);
        if !node.standing {
            if let Some(spot) = self.settings.spot {
                let life = from_seconds(life * spot.mean_life.as_secs_f64());
                agenda.add(now + life, Event::NodeNotice(id));
            }
            node.empty_since = Some(now);
            agenda.add(
                now + picoseconds(self.settings.removed_after),
                Event::NodeIdle(id),
            );
        }
    }

    /// A node is going to be taken away; nothing is placed on it any more.
    pub(crate) fn notice(&mut self, now: Picoseconds, id: u64, agenda: &mut Agenda) {
        if let (Some(node), Some(spot)) = (self.nodes.get_mut(&id), self.settings.spot) {
            node.leaving = true;
            agenda.add(now + picoseconds(spot.notice), Event::NodeGone(id));
        }
    }

    /// A replica has left its node.
    pub(crate) fn free(&mut self, now: Picoseconds, id: u64, agenda: &mut Agenda) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.free += self.gpus;
        if node.free == self.settings.gpus_per_node && !node.standing {
            node.empty_since = Some(now);
            agenda.add(
                now + picoseconds(self.settings.removed_after),
                Event::NodeIdle(id),
            );
        }
    }

    /// Removes a node that has been empty for long enough.
    pub(crate) fn idle(&mut self, now: Picoseconds, id: u64) {
        let after = picoseconds(self.settings.removed_after);
        let node = self.nodes.get(&id);
        if node.is_some_and(|node| node.empty_since.is_some_and(|since| since + after <= now)) {
            self.remove(now, id);
        }
    }

    /// A node is there no more.
    pub(crate) fn remove(&mut self, now: Picoseconds, id: u64) {
        if let Some(Node { up: Some(up), .. }) = self.nodes.remove(&id) {
            self.past += now.saturating_sub(up.max(self.scored_from));
        }
    }

    /// GPU-hours of all nodes until `now`.
    pub(crate) fn gpu_hours(&self, now: Picoseconds) -> f64 {
        let present = self.nodes.values().filter_map(|node| node.up);
        let present: Picoseconds = present
            .map(|up| now.saturating_sub(up.max(self.scored_from)))
            .sum();
        seconds(self.past + present) * f64::from(self.settings.gpus_per_node) / 3600.0
    }

    fn order(&mut self, standing: bool) -> u64 {
        let id = self.made;
        self.made += 1;
        self.nodes.insert(
            id,
            Node {
                up: None,
                standing,
                leaving: false,
                free: self.settings.gpus_per_node,
                image: false,
                empty_since: None,
            },
        );
        id
    }

    /// When the stock-out ends that holds now.
    fn stock_out(&self, now: Picoseconds) -> Option<Picoseconds> {
        let ends = self.settings.stock_outs.iter().filter_map(|out| {
            let from = picoseconds(out.from);
            let end = from + picoseconds(out.lasting);
            (from <= now && now < end).then_some(end)
        });
        ends.max()
    }

    /// Each node has a stream of its own, so that what one policy does to one node changes no other.
    fn random(&self, id: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(2 * id + 1);
        random
    }
}

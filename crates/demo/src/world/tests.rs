use super::*;

fn level(gpus: f64) -> Demand {
    Demand::Requests(Arrivals::Curve(vec![(0.0, gpus)]))
}

fn run(world: &mut World, seconds: u32) -> Vec<WorldEvent> {
    (0..seconds).flat_map(|_| world.step()).collect()
}

#[test]
fn more_replicas_have_less_to_do_each() {
    let mut world = World::new(1, 8, 1);
    let chat = world.add("team", "chat", level(1.6), 2);
    run(&mut world, 60);
    assert!(
        (0.7..0.9).contains(&world.workloads()[chat].utilization()),
        "{:?}",
        world.workloads()[chat]
    );
    world.set_replicas(chat, 4);
    run(&mut world, 50);
    assert_eq!(world.workloads()[chat].ready(), 2, "a cold start takes its time");
    run(&mut world, 90);
    assert_eq!(world.workloads()[chat].ready(), 4);
    assert!((0.3..0.5).contains(&world.workloads()[chat].utilization()));
}

#[test]
fn beyond_capacity_requests_queue_and_gpus_stay_full() {
    let mut world = World::new(1, 8, 1);
    let chat = world.add("team", "chat", level(3.0), 2);
    run(&mut world, 60);
    let workload = &world.workloads()[chat];
    assert!(workload.utilization() > 0.99 && workload.backlog() > 40.0);
    assert!(workload.served().1 > 0, "some were late");
    world.set_replicas(chat, 6);
    run(&mut world, 200);
    assert!(
        world.workloads()[chat].backlog() < 1.0,
        "the backlog is worked off"
    );
}

#[test]
fn pods_wait_for_free_gpus() {
    let mut world = World::new(1, 2, 1);
    let one = world.add("team", "one", Demand::Steady(0.5), 1);
    let other = world.add("team", "other", Demand::Steady(0.5), 1);
    world.set_replicas(one, 3);
    let events = run(&mut world, 5);
    assert_eq!(
        events
            .iter()
            .filter(|event| event.what == Happening::Unschedulable)
            .count(),
        2
    );
    assert_eq!(
        (
            world.workloads()[one].pending(),
            world.workloads()[one].gpus_held()
        ),
        (2, 1)
    );
    world.set_replicas(other, 0);
    let events = run(&mut world, 15);
    assert_eq!(
        events
            .iter()
            .filter(|event| event.what == Happening::Scheduled)
            .count(),
        1
    );
    assert_eq!(world.workloads()[other].pods().len(), 0);
    world.set_replicas(one, 1);
    world.step();
    let stays: Vec<_> = world.workloads()[one]
        .pods()
        .iter()
        .filter(|pod| !pod.is_terminating())
        .collect();
    assert!(
        stays.len() == 1 && stays[0].works(),
        "the one that serves stays: {stays:?}"
    );
}

#[test]
fn a_pod_whose_gpu_is_lost_is_replaced_elsewhere() {
    let mut world = World::new(1, 4, 1);
    let chat = world.add("team", "chat", level(1.0), 2);
    run(&mut world, 10);
    let lost = world.lose_gpu(chat).unwrap();
    assert!(world.gpu(lost).lost);
    assert_eq!(world.workloads()[chat].ready(), 2, "it still looks ready");
    let events = run(&mut world, 31);
    assert_eq!(world.workloads()[chat].ready(), 1);
    assert_eq!(
        events.iter().map(|event| event.what).collect::<Vec<_>>(),
        [Happening::GpuLost, Happening::Unready]
    );
    run(&mut world, 120);
    assert_eq!(world.workloads()[chat].ready(), 2);
    assert!(
        world.workloads()[chat]
            .pods()
            .iter()
            .all(|pod| pod.gpu != Some(lost))
    );
    assert!(world.gpu(lost).holder.is_none());
}

#[test]
fn every_gpu_has_at_most_one_holder_and_the_same_seed_gives_the_same_world() {
    let play = |seed| {
        let mut world = World::new(3, 8, seed);
        let chat = world.add("team", "chat", Demand::Requests(Arrivals::built_in()), 2);
        let render = world.add("team", "render", Demand::Steady(0.95), 6);
        for second in 0..1200_u32 {
            world.set_replicas(chat, (second * 7919 / 60) % 23);
            if second == 500 {
                world.lose_gpu(chat);
            }
            world.step();
            let mut held: Vec<_> = world
                .workloads()
                .iter()
                .flat_map(Workload::pods)
                .filter_map(|pod| pod.gpu)
                .collect();
            let pods = held.len();
            held.sort();
            held.dedup();
            assert_eq!(held.len(), pods);
            let holders = world
                .nodes()
                .iter()
                .flat_map(|node| &node.gpus)
                .filter(|gpu| gpu.holder.is_some());
            assert_eq!(holders.count(), pods);
            assert!(world.workloads()[chat].alive() == world.workloads()[chat].replicas() as usize);
        }
        assert_eq!(world.workloads()[render].ready(), 6);
        format!("{world:?}")
    };
    assert_eq!(play(3), play(3));
    assert_ne!(play(3), play(4));
}

#[test]
fn an_engine_keeps_its_gpu_busy_with_few_requests_as_with_many() {
    let mut world = World::new(1, 8, 1);
    let llm = world.add("team", "llm", Demand::Engines(Rate(vec![(0.0, 3.0)])), 2);
    run(&mut world, 30);
    let came = world.take_requests(llm);
    assert!((50..150).contains(&came.len()), "{came:?}");
    assert!(came.is_sorted() && came.iter().all(|came| (0.0..=30.0).contains(came)));
    assert_eq!(
        (world.take_requests(llm).len(), world.workloads()[llm].running()),
        (0, 0)
    );
    assert_eq!(world.workloads()[llm].utilization().to_string(), "0");
    let mut busy = |running, stuck| {
        for pod in ["llm-1", "llm-2"] {
            let batch = Batch {
                waiting: 2,
                running,
                stuck,
            };
            world.observe(llm, pod, batch);
        }
        run(&mut world, 40);
        world.workloads()[llm].utilization()
    };
    let (few, many, none) = (busy(1, false), busy(48, false), busy(48, true));
    assert!(few > 0.9 && (few - many).abs() < 0.01, "{few} {many}");
    assert!(none < 0.01, "{none}");
    let outside = world.take_requests(llm);
    world.send_again(llm, 5);
    assert!(!outside.is_empty() && world.workloads()[llm].waiting() == 5 + 4);
    assert_eq!(world.workloads()[llm].running(), 96);
    world.set_replicas(llm, 0);
    run(&mut world, 20);
    assert_eq!(world.workloads()[llm].utilization().to_string(), "0");
}

//! Figure by figure, what one calculates by hand.

use super::*;

/// Two kinds of subscribers, two sizes, both ways, and something given of everything.
const GIVEN: &str = r#"
[subscribers]
count = 40_000
online = 0.5
[traffic]
down_kbit = 5856
up_kbit = 1171.2
[[traffic.size]]
octets = 64
share = 1
[[traffic.size]]
octets = 1400
share = 1
[[access]]
name = "a"
suite = "plain"
share = 3
[[access]]
name = "b"
suite = "aes128gcm16"
share = 1
group = "ecp256"
[sessions]
setups_every = "10ms"
[storm]
share = 0.5
within = "10s"
recovered = "20s"
[radius]
latency = "50ms"
window = 200
interim = "1000s"
[gateway]
io_ns = 10
cores = 8
memory_gib = 1
link_gbit = 200
addresses = 32_768
quarantine = "20s"
chunks = 8192
"#;

/// The costs of [`RUN`], and those of a curve, of memory and of idling.
fn costs() -> Costs {
    let more = r#""set-up of Ike(Ecp256)": {"cost": 1, "median": 1, "ns": 200000},
    "memory of 100000 times Plain": {"cost": 3000, "median": 3000, "ns": 0},
    "memory of 20000 times Secured(Ecp256)": {"cost": 6000, "median": 6000, "ns": 0},
    "100000 idle sessions": {"cost": 4, "median": 4, "ns": 0},
    "set-up of Plain""#;
    let text = RUN.replace(r#""set-up of Plain""#, more);
    Costs::parse(Path::new("run.json"), &text).unwrap()
}

fn planned(text: &str) -> Plan {
    sizing::plan(&model(text), &costs()).unwrap()
}

#[track_caller]
fn close(plan: &Plan, name: &str, wanted: f64) {
    let found = value(plan, name);
    let is_close = (found - wanted).abs() <= 1e-9 * wanted.abs();
    assert!(is_close, "{name}: {found}, {wanted}");
}

fn limits(plan: &Plan) -> Vec<&str> {
    plan.limits.iter().map(|limit| limit.figure).collect()
}

#[test]
fn traffic_and_wire() {
    let plan = planned(GIVEN);
    close(&plan, "sessions", 20_000.0);
    close(&plan, "mean_octets", 732.0);
    close(&plan, "packets_down", 20e6);
    close(&plan, "packets_up", 4e6);
    close(&plan, "network_octets", 0.5 * (102.0 + 1438.0));
    let tunnel = 0.75 * 0.5 * (142.0 + 1478.0) + 0.25 * 0.5 * (186.0 + 1522.0);
    close(&plan, "tunnel_octets", tunnel);
    close(&plan, "encapsulation", tunnel / 732.0);
    close(&plan, "tunnel_rate_down", 20e6 * 8.0 * tunnel);
    close(&plan, "tunnel_rate_up", 4e6 * 8.0 * tunnel);
    close(&plan, "tunnel_line", 20e6 * 8.0 * tunnel);
    close(&plan, "tunnel_use", 20e6 * 8.0 * tunnel / 200e9);
    close(&plan, "network_use", 20e6 * 8.0 * 770.0 / 200e9);
}

#[test]
fn packets_cost_what_their_suite_size_and_driver_do() {
    let plan = planned(GIVEN);
    close(&plan, "packet_ns.a.down", 110.0);
    close(&plan, "packet_ns.b.up", 260.0);
    let busy = 24e6 * (0.75 * 110.0 + 0.25 * 260.0) / 1e9;
    close(&plan, "data_busy", busy);
    assert!(!plan.book.figure("data_busy").unwrap().is_assumed());
    let last = plan.trials.last().unwrap();
    close(&plan, "worker_use", busy * last.share);
    let simulated = (last.outcome.busy - busy * last.share).abs();
    assert!(simulated < 0.02, "the ring is given the same load");
    close(&plan, "nic_queues", value(&plan, "workers"));
}

#[test]
fn packets_that_are_alike_keep_each_other_company_whoever_sends_them() {
    let short = r#""aes128gcm16 Down 64 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 100},
    "aes128gcm16 Down 64 B, 1000 sessions, Warm, bursts of 16": {"cost": 1, "median": 1, "ns": 170},
    "aes128gcm16 Down 1400 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 200},
    "aes128gcm16 Down 1400 B, 1000 sessions, Warm, bursts of 16": {"cost": 1, "median": 1, "ns": 270},
    "plain Down 64 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 50},
    "plain Down 64 B, 1000 sessions, Warm, bursts of 16": {"cost": 1, "median": 1, "ns": 60},
    "plain Down 1400 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 60},
    "plain Down 1400 B, 1000 sessions, Warm, bursts of 16": {"cost": 1, "median": 1, "ns": 70},
    "set-up of Plain""#;
    let text = RUN.replace(r#""set-up of Plain""#, short);
    let costs = Costs::parse(Path::new("run.json"), &text).unwrap();
    let of = |text: &str| sizing::plan(&model(text), &costs).unwrap();
    // A quarter of all packets: 16 of a burst.
    close(&of(MODEL), "packet_ns.b.down", 360.0);
    let half =
        "share = 0.5\n[[access]]\nname = \"c\"\nsuite = \"aes128gcm16\"\nshare = 0.5\n[sessions]";
    let split = of(&MODEL.replace("share = 1\n[sessions]", half));
    close(&split, "packet_ns.b.down", 360.0);
    close(&split, "packet_ns.c.down", 360.0);
}

#[test]
fn sessions_take_memory_by_their_kind_and_workers_by_their_number() {
    let plan = planned(GIVEN);
    let workers = value(&plan, "workers");
    assert!(workers > 1.0);
    close(&plan, "session_octets", 0.75 * 3000.0 + 0.25 * 6000.0);
    close(&plan, "session_memory", 20_000.0 * 3750.0);
    close(&plan, "packet_memory", workers * 8192.0 * 2048.0);
    let all = 20_000.0 * 3750.0 + workers * 8192.0 * 2048.0;
    close(&plan, "memory", all);
    close(&plan, "memory_use", all / f64::from(1 << 30));
    close(&plan, "slot_use", 20_000.0 / 262_144.0);
}

#[test]
fn set_ups_addresses_and_radius() {
    let plan = planned(GIVEN);
    close(&plan, "setups", 100.0);
    close(&plan, "ike_ns.b", 200_000.0);
    close(&plan, "compute_ns", 50_000.0);
    close(&plan, "idle_busy", 20_000.0 * 4e-7);
    close(&plan, "protocol_use", 100.0 * 20e-6 + 20_000.0 * 4e-7);
    let threads = value(&plan, "compute_threads");
    close(&plan, "compute_use", 100.0 * 50e-6 / threads);
    close(&plan, "cores", value(&plan, "workers") + threads + 1.0);
    close(&plan, "core_use", value(&plan, "cores") / 8.0);
    close(&plan, "addresses", 20_000.0 + 100.0 * 20.0);
    close(&plan, "address_use", 22_000.0 / 32_768.0);
    close(&plan, "prefix", 17.0);
    close(&plan, "radius", 300.0 + 20.0);
    close(&plan, "radius_outstanding", 16.0);
    close(&plan, "radius_use", 0.08);
}

#[test]
fn a_storm_is_over_when_its_slowest_station_is_done() {
    let plan = planned(GIVEN);
    close(&plan, "storm_clients", 10_000.0);
    // Two requests each in ten seconds, and less than 200 under way.
    let peak = value(&plan, "storm_radius");
    assert!((2000.0..4000.0).contains(&peak), "{peak}");
    let recovery = value(&plan, "recovery");
    assert!((9.9..10.5).contains(&recovery), "{recovery}");
    close(&plan, "storm_use", recovery / 20.0);
    let window = value(&plan, "storm_radius_use");
    let wanted = 10_000.0 * 0.05 / (200.0 * recovery);
    assert!((window / wanted - 1.0).abs() < 0.01, "{window} {wanted}");
    close(&plan, "storm_wasted", 0.0);
    assert!(value(&plan, "storm_setup_p50") >= 0.05);
    assert!(value(&plan, "storm_setup_p99") >= value(&plan, "storm_setup_p50"));
}

#[test]
fn threads_are_added_while_public_keys_are_what_everybody_waits_for() {
    let storm = "[storm]\nwithin = \"1s\"\npatience = \"1000s\"\nrecovered = \"10s\"\n";
    let plain = MODEL.replace("share = 3", "share = 0");
    // 10 000 times 1 ms are 10 s, and the first second nobody has to wait for.
    let keys = made(&format!("{plain}half_open = 1_000_000\n{storm}"));
    assert_eq!(value(&keys, "compute_threads"), 2.0);
    assert!(value(&keys, "recovery") < 10.0);
    assert!(value(&keys, "storm_setup_p99") > value(&keys, "storm_setup_p50"));
    // One request at a time, 20 ms each: threads do not help.
    let model = MODEL.replace("latency", "window = 1\nlatency");
    let servers = made(&format!("{model}{storm}"));
    assert_eq!(value(&servers, "compute_threads"), 1.0);
    assert!(value(&servers, "storm_use") > 1.0);
}

#[test]
fn enough_workers_are_as_many_as_lose_and_delay_no_more_than_is_wanted() {
    let busy = MODEL.replace("down_kbit = 1120", "down_kbit = 20_000");
    let trains = busy.replace("[traffic]", "[traffic]\ntrain = 64\ntrain_mbit = 10_000");
    let strict = |targets: &str| {
        let plan = made(&format!("{trains}ring = 256\n[targets]\n{targets}"));
        let last = plan.trials.last().unwrap();
        let delay = last.outcome.delays.value_at_quantile(0.999) as f64 / 1e9;
        (plan.trials.len(), last.outcome.loss(), delay)
    };
    let (lax, ..) = strict("loss = 0.5\ndelay = \"10s\"");
    let (few, loss, _) = strict("loss = 0.0001\ndelay = \"10s\"");
    assert!(few > lax && loss <= 1e-4, "{few} {lax} {loss}");
    let (quick, _, delay) = strict("loss = 0.5\ndelay = \"10us\"");
    assert!(quick > lax && delay <= 10e-6, "{quick} {lax} {delay}");
}

#[test]
fn the_busiest_worker_has_the_shards_that_chance_gave_it() {
    let plan = made(&MODEL.replace("down_kbit = 1120", "down_kbit = 63_467"));
    let first = &plan.trials[0];
    assert_eq!(first.workers, 9, "8.5 cores are busy");
    // 64 shards are not divisible by 9: somebody has 8 of them.
    assert!((first.share / (8.0 / 64.0) - 1.0).abs() < 0.05, "{first:?}");
}

#[test]
fn packets_of_a_train_follow_each_other_as_fast_as_their_line() {
    let delay = |mbit: u32| {
        let line = format!("[traffic]\ntrain = 64\ntrain_mbit = {mbit}");
        let plan = made(&MODEL.replace("[traffic]", &line));
        (value(&plan, "delay_p99"), value(&plan, "delay_p50"))
    };
    let (fast, slow) = (delay(100_000), delay(100));
    assert!(fast.0 > 3.0 * slow.0, "{fast:?} {slow:?}");
    assert!(fast.0 > fast.1);
}

#[test]
fn a_link_is_the_smallest_that_is_no_fuller_than_it_may_be() {
    let link = |kbit: u32, full: &str| {
        let text = MODEL.replace("down_kbit = 1120", &format!("down_kbit = {kbit}"));
        let plan = made(&format!("{text}[targets]\nuse = {full}\n"));
        value(&plan, "network_link") / 1e9
    };
    // 8 Gbit/s of goodput are 8.2 on the network side.
    assert_eq!(link(800, "1.0"), 10.0);
    assert_eq!(link(800, "0.8"), 25.0);
    assert_eq!(link(30_000, "0.8"), 400.0, "two of the fastest");
    let upwards = MODEL
        .replace("up_kbit = 0", "up_kbit = 2000")
        .replace("down_kbit = 1120", "down_kbit = 1");
    assert!(
        value(&made(&upwards), "network_line") > 20e9,
        "the busier way"
    );
}

#[test]
fn what_is_given_can_run_out_and_what_is_not_is_sized() {
    let all = [
        "worker_use",
        "tunnel_use",
        "network_use",
        "protocol_use",
        "compute_use",
        "storm_use",
        "slot_use",
        "radius_use",
    ];
    let plan = made(MODEL);
    assert!(all.iter().all(|name| limits(&plan).contains(name)));
    assert_eq!(plan.limits.len(), all.len());
    let plan = planned(GIVEN);
    for name in ["core_use", "memory_use", "address_use"] {
        assert!(limits(&plan).contains(&name), "{name}");
    }
}

#[test]
fn what_nobody_said_is_the_default_and_says_so() {
    let plan = made("[[access]]\nsuite = \"aes128gcm16\"\n");
    close(
        &plan,
        "mean_octets",
        (7.0 * 64.0 + 4.0 * 570.0 + 1400.0) / 12.0,
    );
    let packet = plan.book.figure("packet_ns.1-aes128gcm16.up").unwrap();
    assert!(packet.is_assumed(), "the driver was not measured");
    let said = show::explanations(&made(MODEL), "goodput_down").unwrap();
    assert!(said.contains("traffic.down_kbit in model.toml"), "{said}");
    let text = show::text(&model(MODEL), &super::costs(), &made(MODEL));
    assert!(
        text.contains(
            "assumed, not measured: packet_ns.b.down, packet_ns.b.up, idle_busy, session_octets\n"
        ),
        "{text}"
    );
}

#[test]
fn what_is_full_is_told_with_how_much_is_wanted_of_each() {
    let none = made(&format!("{MODEL}addresses = 5_300\ncores = 1\n"));
    let text = show::verdict(&none);
    assert!(text.contains("the cores will not do: 3.00 times"), "{text}");
    assert!(
        text.contains("the address pools will not do either: 2.00 times"),
        "{text}"
    );
    let enough = made(MODEL);
    let first = &enough.limits[0];
    let wanted = format!(
        "{} is full first, at {:.2} times",
        first.title,
        1.0 / first.used
    );
    assert!(show::verdict(&enough).contains(&wanted), "{wanted}");
}

#[test]
fn shares_that_add_up_to_nothing_are_faults() {
    let text = "[[access]]\nsuite = \"plain\"\nshare = 0\n[[traffic.size]]\nshare = 0\n";
    let error = Model::parse(Path::new("m.toml"), text.to_owned()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("access: the shares add up to nothing"),
        "{error}"
    );
    assert!(
        error.contains("the shares of the sizes add up to nothing"),
        "{error}"
    );
}

#[test]
fn the_table_the_object_and_the_page_all_have_what_a_planner_asks_for() {
    let wanted = [
        "goodput_down",
        "tunnel_rate_down",
        "nic_queues",
        "workers",
        "compute_threads",
        "cores",
        "memory",
        "addresses",
        "radius",
        "storm_radius",
        "recovery",
        "burst_loss",
        "delay_p999",
        "tunnel_link",
        "encapsulation",
    ];
    let (model, plan) = (model(GIVEN), planned(GIVEN));
    let costs = costs();
    let text = show::text(&model, &costs, &plan);
    let json = show::json(&model, &costs, &plan).unwrap();
    let html = page::page(&model, &costs, &plan).html().unwrap();
    for name in wanted {
        assert!(
            text.lines()
                .any(|line| line.ends_with(&format!("  {name}"))),
            "{name}"
        );
        assert!(json.contains(&format!("\"name\": \"{name}\"")), "{name}");
        assert!(html.contains(&format!(">{name}<")), "{name}");
    }
    assert!(json.contains("\"cpu\": \"a processor\""), "{json}");
    for plot in [
        "Use of what there is",
        "Inner goodput and outer wire rate",
        "Delay in the ring and the busiest worker, simulated",
        "A storm: sessions up",
        "A storm: RADIUS requests",
        show::verdict(&plan).trim(),
    ] {
        assert!(html.contains(plot), "{plot}");
    }
}

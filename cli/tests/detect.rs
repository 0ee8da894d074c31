//! `midwatch detect` as a process: what goes in, what comes out, and when.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn lines(&self) -> Vec<Value> {
        let line = |line: &str| serde_json::from_str(line).expect("a line of JSON");
        self.out.lines().map(line).collect()
    }
}

/// Starts the filter where no settings are, and none are to be found.
fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_midwatch"))
        .arg("detect")
        .args(arguments)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("midwatch starts")
}

/// Gives it all of the input and waits for its end.
fn run(arguments: &[&str], input: &[u8]) -> Ended {
    let mut child = start(arguments);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It answers while it reads, so both ends are served at once. It may end
    // before it has read everything.
    let feeder = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().expect("it ends");
    feeder.join().expect("no panic");
    Ended {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn sample(service: &str, metric: &str, at: i64, value: &str) -> String {
    format!(
        "{{\"service\":\"{service}\",\"metric_name\":\"{metric}\",\"timestamp_ms\":{at},\"metric_value\":{value}}}\n"
    )
}

/// Values that look like noise and are the same in every run.
fn noise(series: u64, step: u64) -> f64 {
    let mut state = (series << 32 | step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (state >> 40) as f64 / 16_777_216.0
}

/// A running filter that is spoken to line by line.
struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Conversation {
    fn begin() -> Conversation {
        let mut child = start(&[]);
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                if sender.send(line.expect("a line")).is_err() {
                    return;
                }
            }
        });
        Conversation {
            child,
            input,
            answers,
        }
    }

    fn say(&mut self, text: &str) {
        let input = self.input.as_mut().expect("open");
        input.write_all(text.as_bytes()).expect("it listens");
        input.flush().expect("it listens");
    }

    fn answer(&self) -> Value {
        let line = self.answers.recv_timeout(LIMIT).expect("an answer in time");
        serde_json::from_str(&line).expect("JSON")
    }

    fn end(mut self) -> i32 {
        drop(self.input.take());
        self.child
            .wait()
            .expect("it ends")
            .code()
            .expect("by itself")
    }
}

#[test]
fn each_line_is_answered_before_more_is_needed() {
    let mut filter = Conversation::begin();
    for at in 0..5 {
        filter.say(&sample("a", "m", at, "1"));
        assert_eq!(filter.answer()["timestamp_ms"], at);
    }
    // Half a line keeps nobody from being answered, nor does a burst.
    let burst: String = (5..205).map(|at| sample("a", "m", at, "1")).collect();
    filter.say(&format!("{burst}{{\"service\":"));
    for at in 5..205 {
        assert_eq!(filter.answer()["timestamp_ms"], at);
    }
    filter.say("\"a\",\"metric_name\":\"m\",\"timestamp_ms\":205,\"metric_value\":1}\nnonsense\n");
    assert_eq!(filter.answer()["timestamp_ms"], 205);
    assert_eq!(filter.end(), 3);
}

#[test]
fn one_line_for_each_sample_in_order_with_all_fields() {
    let mut input = String::new();
    for at in 0..50 {
        input += &sample("pay", "latency_ms", at * 1000, "80.5");
    }
    input += "{\"service\":\"pay\",\"metric_name\":\"latency_ms\",\"timestamp_ms\":50000.0,\"metric_value\":1E+2,\"labels\":{\"version\":\"2\"},\"environment\":\"prod\",\"event_id\":\"x\"}\n";
    let ended = run(&[], input.as_bytes());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let lines = ended.lines();
    assert_eq!(lines.len(), 51);
    let times: Vec<i64> = lines
        .iter()
        .map(|line| line["timestamp_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(times, (0..=50).map(|at| at * 1000).collect::<Vec<_>>());
    for line in &lines {
        let score = line["anomaly_score"].as_f64().expect("never null");
        assert!((0.0..=1.0).contains(&score) && line["is_anomaly"].is_boolean());
        assert!(line["reason"].is_string() && line["metric_value"].is_number());
        for band in ["expected", "low", "high"] {
            assert!(line[band].is_null() || line[band].is_number(), "{line}");
        }
    }
    assert_eq!(
        (&lines[0]["reason"], &lines[0]["expected"]),
        (&json!("warming up"), &Value::Null)
    );
    assert!(lines[0].get("labels").is_none() && lines[0].get("environment").is_none());
    assert_eq!(lines[50]["labels"], json!({"version": "2"}));
    assert_eq!(lines[50]["environment"], "prod");
    assert!(ended.out.ends_with('\n') && ended.out.contains("\"metric_value\":1E+2,"));
}

#[test]
fn interleaved_series_are_judged_as_each_would_be_alone() {
    const SERIES: u64 = 60;
    let mut alone: BTreeMap<u64, String> = BTreeMap::new();
    let mut mixed = String::new();
    for step in 0..200 {
        for series in 0..SERIES {
            let spike = if step == 150 + series % 7 { 40.0 } else { 0.0 };
            let value = noise(series, step) * (series + 1) as f64 + spike * (series % 3) as f64;
            let mut line = sample(
                &format!("s{}", series % 5),
                &format!("m{}", series % 4),
                step as i64 * 60_000,
                &value.to_string(),
            );
            // Told apart by service and metric, and by labels of both kinds.
            let pod = format!(
                ",\"labels\":{{\"pod\":\"p{}\",\"version\":\"{step}\"}},\"environment\":\"e{}\"}}\n",
                series % 2,
                series / 20
            );
            line.replace_range(line.len() - 2.., &pod);
            alone.entry(series).or_default().push_str(&line);
            mixed.push_str(&line);
        }
    }
    let mixed = run(&[], mixed.as_bytes());
    assert_eq!((mixed.code, mixed.err.as_str()), (0, ""));
    let lines: Vec<&str> = mixed.out.lines().collect();
    assert_eq!(lines.len() as u64, SERIES * 200);
    for (series, input) in alone {
        let expected = run(&[], input.as_bytes());
        let own = lines.iter().skip(series as usize).step_by(SERIES as usize);
        assert!(own.copied().eq(expected.out.lines()), "series {series}");
    }
}

#[test]
fn instances_are_series_of_their_own_and_versions_are_not() {
    let at_5 = |environment: &str, labels: &str| {
        format!(
            "{{\"service\":\"a\",\"metric_name\":\"m\",\"timestamp_ms\":5,\"metric_value\":1{environment},\"labels\":{{{labels}}}}}\n"
        )
    };
    let default = ",\"environment\":\"default\"";
    let input = [
        at_5("", ""),
        at_5(",\"environment\":\"prod\"", ""),
        at_5("", "\"pod\":\"x\""),
        at_5("", "\"pod\":\"y\",\"version\":\"1\""),
        at_5("", "\"version\":\"1\""),
        at_5(default, ""),
        at_5(default, "\"version\":\"2\",\"pod\":\"\\u0079\""),
    ];
    let reasons: Vec<Value> = run(&[], input.concat().as_bytes())
        .lines()
        .iter()
        .map(|line| line["reason"].clone())
        .collect();
    let duplicate = "not judged: duplicate, its series has one of that time";
    let new = "warming up";
    assert_eq!(
        reasons,
        [new, new, new, new, duplicate, duplicate, duplicate]
    );
}

#[test]
fn what_is_not_judged_still_has_its_one_line() {
    let mut input = sample("a", "m", 10, "1");
    for (at, value) in [
        (10, "2"),
        (9, "2"),
        (11, "null"),
        (11, "\"NaN\""),
        (11, "1e999"),
        (11, "-Infinity"),
        (-7, "1"),
    ] {
        input += &sample("a", "m", at, value);
    }
    input += &sample("b", "m", -8_640_000_000_000_000, "1");
    input += &sample("b", "m", 8_640_000_000_000_000, "1");
    let ended = run(&[], input.as_bytes());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let rules: Vec<String> = ended
        .lines()
        .iter()
        .map(|line| {
            assert_eq!(
                (&line["anomaly_score"], &line["is_anomaly"]),
                (&json!(0.0), &json!(false))
            );
            let reason = line["reason"].as_str().unwrap();
            reason.split(',').next().unwrap().to_owned()
        })
        .collect();
    let (late, odd) = ("not judged: late", "not judged: not a finite number");
    assert_eq!(
        rules,
        [
            "warming up",
            "not judged: duplicate",
            late,
            odd,
            odd,
            odd,
            odd,
            late,
            "warming up",
            "warming up"
        ]
    );
    assert!(
        ended.lines()[3..7]
            .iter()
            .all(|line| line["metric_value"].is_null())
    );
}

#[test]
fn a_line_without_a_sample_is_reported_by_its_number_and_skipped() {
    let good = sample("a", "m", 1, "1");
    let deep = "[".repeat(100_000);
    let bad = [
        "garbage".to_owned(),
        good.trim_end().to_owned(),
        "{\"service\":\"a\"".to_owned(),
        "{\"service\":\"a\",\"metric_name\":\"m\",\"metric_value\":1}".to_owned(),
        "{\"service\":7,\"metric_name\":\"m\",\"timestamp_ms\":1,\"metric_value\":1}".to_owned(),
        "{\"service\":\"a\",\"metric_name\":\"m\",\"timestamp_ms\":\"1\",\"metric_value\":1}"
            .to_owned(),
        "{\"service\":\"a\",\"metric_name\":\"m\",\"timestamp_ms\":1,\"metric_value\":\"12\"}"
            .to_owned(),
        deep.clone(),
        format!("{{\"labels\":{deep}"),
        "[1,2]".to_owned(),
        "null".to_owned(),
        String::new(),
        sample("a", "m", 2, "1").trim_end().to_owned(),
    ];
    let ended = run(&[], bad.join("\r\n").as_bytes());
    assert_eq!(ended.code, 3);
    let times: Vec<Value> = ended
        .lines()
        .iter()
        .map(|line| line["timestamp_ms"].clone())
        .collect();
    assert_eq!(times, [1, 2]);
    let told: Vec<&str> = ended.err.lines().collect();
    for (number, line) in [1, 3, 4, 5, 6, 7, 8, 9, 10, 11].iter().zip(&told) {
        assert!(
            line.starts_with(&format!("midwatch: line {number} skipped: ")),
            "{line}"
        );
        assert!(line.chars().count() < 250, "{line}");
    }
    assert!(
        told[2].contains("timestamp_ms") && told[3].contains("`service`"),
        "{}",
        ended.err
    );
    assert_eq!(
        told[10..],
        ["midwatch: 10 lines held no sample and were skipped"]
    );
}

#[test]
fn hostile_input_ends_well() {
    let mut input = Vec::new();
    // Bytes of all kinds, then a line beyond every limit, then one in the limit
    // that nests deeply inside a field that nobody reads.
    (0..40_000_u64).for_each(|step| input.push((noise(1, step) * 256.0) as u8));
    input.push(b'\n');
    let garbage = input.iter().filter(|byte| **byte == b'\n').count();
    input.extend(std::iter::repeat_n(b'{', 10_000_000));
    input.push(b'\n');
    let (open, close) = ("[".repeat(1_000_000), "]".repeat(1_000_000));
    let nested = sample("a", "m", 1, "1");
    input.extend_from_slice(
        nested
            .replacen('{', &format!("{{\"x\":{open}{close},"), 1)
            .as_bytes(),
    );
    input.extend_from_slice(
        b"{\"service\":\"a\",\"metric_name\":\"m\",\"timestamp_ms\":2,\"metric_value\":1}",
    );
    let ended = run(&["--format", "json"], &input);
    assert_eq!(ended.code, 3);
    let times: Vec<Value> = ended
        .lines()
        .iter()
        .map(|line| line["timestamp_ms"].clone())
        .collect();
    assert_eq!(times, [1, 2]);
    let long = format!("line {} skipped: is longer than 6291456 bytes", garbage + 1);
    assert!(ended.err.contains(&long), "{}", ended.err);
    assert!(!ended.err.contains('\u{1b}') && ended.err.len() < 100_000);

    let ended = run(&[], &vec![b'x'; 10_000_000]);
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    assert_eq!(run(&[], b"").code, 0);
}

#[test]
fn more_series_than_allowed_are_answered_but_not_judged() {
    let input: String = (0..4)
        .map(|step| sample("a", &format!("m{}", step % 3), step, "1"))
        .collect();
    let ended = run(&["--max-series", "2"], input.as_bytes());
    assert_eq!(ended.code, 3);
    let reasons: Vec<Value> = ended
        .lines()
        .iter()
        .map(|line| line["reason"].clone())
        .collect();
    let refused = "not judged: more series than --max-series allows";
    assert_eq!(reasons, ["warming up", "warming up", refused, "warming up"]);
    assert!(
        ended
            .err
            .starts_with("midwatch: line 3 begins one series more than 2;"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("mend: raise --max-series")
            && ended.err.contains("1 samples of further")
    );
}

#[test]
fn csv_is_read_with_and_without_a_header() {
    let points = |ended: &Ended| -> Vec<(String, i64, Value)> {
        let point = |line: &Value| {
            (
                format!(
                    "{}/{}",
                    line["service"].as_str().unwrap(),
                    line["metric_name"].as_str().unwrap()
                ),
                line["timestamp_ms"].as_i64().unwrap(),
                line["metric_value"].clone(),
            )
        };
        ended.lines().iter().map(point).collect()
    };
    let own = |at, value: f64| (String::from("csv/value"), at, json!(value));
    for (arguments, input) in [
        (
            &[][..],
            "timestamp,value\n2026-11-22 03:04:05,1.5\n2026-11-22T03:04:06Z,-2\n",
        ),
        (&["--csv"], "\u{feff}1795316645,1.5\r\n1795316646,-2\r\n"),
        (&["--format", "csv"], "1795316645000,1.5\n1795316646000,-2"),
        (
            &[],
            "\"value\";\"ts\"\n\"1.5\";\"1795316645\"\n-2;1795316646.0\n",
        ),
        (
            &[],
            "id\ttime_ms\tvalue\nx\t1795316645000\t1.5\nx\t1795316646000\t-2\n",
        ),
    ] {
        let ended = run(arguments, input.as_bytes());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{input}");
        let expected = [own(1_795_316_645_000, 1.5), own(1_795_316_646_000, -2.0)];
        assert_eq!(points(&ended), expected, "{input}");
    }
    let ended = run(&[], b"date,service,metric,value\n2026-11-22,\"pay, \"\"eu\"\"\",cpu,5\n2026-11-22,b,cpu,\n2026-11-23,b,cpu\n2026-11-24,b,cpu,x\n");
    assert_eq!(ended.code, 3);
    let day = 1_795_305_600_000;
    assert_eq!(
        points(&ended),
        [
            ("pay, \"eu\"/cpu".to_owned(), day, json!(5.0)),
            ("b/cpu".to_owned(), day, Value::Null)
        ]
    );
    assert!(
        ended.err.contains("line 4 skipped: has 3 fields, not 4")
            && ended.err.contains("line 5 skipped: expected a number"),
        "{}",
        ended.err
    );

    let ended = run(&["--csv"], b"alpha,beta,gamma\n1,2,3\n");
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(
        ended.err.contains("line 1 of the CSV") && ended.err.contains("mend: "),
        "{}",
        ended.err
    );
    assert_eq!(run(&["--csv", "--format", "json"], b"").code, 2);
}

#[test]
fn csv_is_written_in_the_columns_of_its_header() {
    let input = "{\"service\":\"a,\\\"b\",\"metric_name\":\"m\",\"timestamp_ms\":5,\"metric_value\":null,\"labels\":{\"pod\":\"x\"}}\n";
    let ended = run(&["--output", "csv"], input.as_bytes());
    assert_eq!(
        ended.out,
        "environment,service,metric_name,timestamp_ms,metric_value,anomaly_score,is_anomaly,expected,low,high,reason,labels\n\
         ,\"a,\"\"b\",m,5,,0.0,false,,,,not judged: not a finite number,\"{\"\"pod\"\":\"\"x\"\"}\"\n"
    );
    // What it writes it can read.
    assert_eq!(run(&[], ended.out.as_bytes()).lines().len(), 1);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child = start(&[]);
    let mut input = child.stdin.take().expect("piped");
    drop(child.stdout.take());
    let lines: String = (0..20_000).map(|at| sample("a", "m", at, "1")).collect();
    let told = std::thread::spawn(move || input.write_all(lines.as_bytes()).is_ok());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    assert!(
        !told.join().expect("no panic"),
        "it ended before it had read everything"
    );
}

/// Whether tags are balanced and attributes and references well-formed.
fn is_well_formed(text: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    let is_text = |text: &str| {
        text.split('&').skip(1).all(|part| {
            ["amp;", "lt;", "gt;", "quot;"]
                .iter()
                .any(|name| part.starts_with(name))
        })
    };
    while let Some((before, after)) = rest.split_once('<') {
        let Some((tag, behind)) = after.split_once('>') else {
            return false;
        };
        if !is_text(before) || before.contains('>') {
            return false;
        }
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
            continue;
        }
        let parts: Vec<&str> = tag.split('"').collect();
        let names_ok = parts
            .iter()
            .step_by(2)
            .rev()
            .skip(1)
            .all(|name| name.ends_with('='));
        if parts.len().is_multiple_of(2) || !names_ok || !is_text(tag) {
            return false;
        }
        if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap_or_default());
        }
    }
    open.is_empty() && rest.trim().is_empty()
}

#[test]
fn the_picture_is_well_formed_small_and_complete_in_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.svg");
    let mut input = String::new();
    for step in 0..20_000_u64 {
        let value = if step == 15_000 { 1e6 } else { noise(3, step) };
        input += &sample(
            "pay",
            "latency_ms",
            step as i64 * 60_000,
            &value.to_string(),
        );
    }
    let hostile = "<script>\\u0000&\\\"\\u001b]]>";
    for (step, value) in [0.0, f64::MAX, f64::MIN, 5e-324].iter().enumerate() {
        input += &sample(hostile, hostile, step as i64, &format!("{value:e}"));
        input += &sample("flat", "bytes", 7 + step as i64, "5");
    }
    for series in 0..20 {
        input += &sample("one", &format!("m{series}"), 8_640_000_000_000_000, "1");
    }
    let ended = run(&["--plot", path.to_str().unwrap()], input.as_bytes());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let text = std::fs::read_to_string(&path).expect("a picture");
    assert!(is_well_formed(&text) && text.starts_with("<svg "));
    assert!(text.contains("12 of 23 series") && text.contains("20 000 samples"));
    assert!(text.len() < 150_000, "{} bytes", text.len());
    for absent in ["<script", "NaN", "inf ", "href", "url(h", "\u{1b}", "\0"] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert_eq!(text.matches("http").count(), 1, "its namespace only");
    assert!(text.contains("prefers-color-scheme:dark"));
    assert!(
        !is_well_formed("<a><b></a>")
            && !is_well_formed("<a b=c\"d\"/>")
            && !is_well_formed("<a>&x;</a>")
    );

    let nowhere = folder.path().join("none/out.svg");
    let ended = run(&["--plot", nowhere.to_str().unwrap()], b"");
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("cannot be written") && ended.err.contains("mend: "),
        "{}",
        ended.err
    );
}

#[test]
fn the_help_says_what_goes_in_and_what_comes_out() {
    let ended = run(&["--help"], b"");
    assert_eq!(ended.code, 0);
    assert!(ended.out.lines().all(|line| line.chars().count() <= 80));
    insta::assert_snapshot!(ended.out);
}

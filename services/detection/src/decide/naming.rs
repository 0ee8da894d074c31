//! The name of a series: the metric's, and what tells instances apart:
//! `host_disk_percent{mount=/data}`.

/// The labels that tell instances of one metric apart. Other labels describe
/// (version, region, …) and may change without making a new series.
const INSTANCE_LABELS: [&str; 10] = [
    "group",
    "mount",
    "device",
    "interface",
    "gpu",
    "pod",
    "container",
    "instance",
    "topic",
    "partition",
];

/// Writes the name of a series into `buffer`, which is emptied first: one
/// buffer serves all samples, so that naming a known series allocates nothing.
/// `label` gives the value of a label.
pub fn write_series_name<'a>(
    buffer: &mut String,
    metric_name: &str,
    label: impl Fn(&str) -> Option<&'a str>,
) {
    buffer.clear();
    buffer.push_str(metric_name);
    let mut opened = false;
    for name in INSTANCE_LABELS {
        if let Some(value) = label(name) {
            buffer.push(if opened { ',' } else { '{' });
            opened = true;
            buffer.push_str(name);
            buffer.push('=');
            buffer.push_str(value);
        }
    }
    if opened {
        buffer.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::write_series_name;
    use crate::decide::semantics;
    use std::collections::BTreeMap;

    #[test]
    fn instances_are_named_in_one_order_and_other_labels_do_not_count() {
        let mut name = "left over".to_owned();
        let labels = [
            ("region", "eu"),
            ("pod", "b"),
            ("mount", "/data"),
            ("x", ""),
        ];
        for (count, expected) in [
            (0, "m"),
            (1, "m"),
            (2, "m{pod=b}"),
            (3, "m{mount=/data,pod=b}"),
            (4, "m{mount=/data,pod=b}"),
        ] {
            let some = &labels[..count];
            let get = |name: &str| some.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
            write_series_name(&mut name, "m", get);
            assert_eq!(name, expected);
            let owned: BTreeMap<String, String> = some
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            let general = semantics::series_name("m", &owned);
            assert_eq!(general.as_deref().unwrap_or("m"), expected);
        }
    }
}

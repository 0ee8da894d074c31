//! Log lines that differ only in numbers and ids are one template.

use midwatch_events::mention::names;

/// The line with every run of characters that holds a digit replaced by `#`.
#[must_use]
pub fn template(message: &str) -> String {
    message
        .split_whitespace()
        .map(|word| {
            if word.chars().any(|letter| letter.is_ascii_digit()) {
                "#"
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The services of `candidates` that a line names as whole words, other than
/// `own`.
#[must_use]
pub fn named_services(message: &str, own: &str, candidates: &[String]) -> Vec<String> {
    candidates
        .iter()
        .filter(|service| service.as_str() != own)
        .filter(|service| names(message, service))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_another_template() {
        assert_eq!(
            template("request 17 took 380ms"),
            template("request 99 took 7120ms")
        );
        assert_ne!(template("pool exhausted"), template("pool warm"));
    }

    #[test]
    fn a_service_is_named_by_a_whole_word_only() {
        let all = vec![
            "order".to_owned(),
            "order-service".to_owned(),
            "pay".to_owned(),
        ];
        assert_eq!(
            named_services("timeout calling order-service: 5s", "pay", &all),
            ["order-service"]
        );
    }
}

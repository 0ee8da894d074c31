//! Services that a log line names. The text is data: a name counts only where
//! it is that of a service that is known already.

/// Whether `message` names `service` as a whole word: `order-service` does not
/// name `order`.
#[must_use]
pub fn names(message: &str, service: &str) -> bool {
    places(message, service).next().is_some()
}

/// What comes from somebody who was asked. Anything else that comes from a
/// service, a request above all, was sent by it unasked.
const ANSWERS: [&str; 15] = [
    "answer",
    "answers",
    "response",
    "responses",
    "reply",
    "replies",
    "result",
    "results",
    "error",
    "errors",
    "status",
    "ack",
    "4xx",
    "5xx",
    "fetching",
];

/// Whether `message` names `service` as one that its writer depends on: not
/// only as where something came from (`request from order-service`), unless
/// that was an answer (`no answer from order-service`).
#[must_use]
pub fn names_dependency(message: &str, service: &str) -> bool {
    places(message, service).any(|start| {
        let mut before = message[..start].split_whitespace().rev();
        if !before
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("from"))
        {
            return true;
        }
        let what = before.next().unwrap_or_default();
        let what = what.trim_matches(|letter: char| !letter.is_alphanumeric());
        let is_status = what.len() == 3 && what.parse::<u16>().is_ok_and(|code| code >= 400);
        is_status || ANSWERS.iter().any(|word| what.eq_ignore_ascii_case(word))
    })
}

/// Where the whole word begins, in bytes.
fn places<'a>(message: &'a str, service: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_name = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    message
        .match_indices(service)
        .filter(move |(start, found)| {
            let before = message[..*start].chars().next_back();
            let after = message[start + found.len()..].chars().next();
            !found.is_empty()
                && !before.is_some_and(part_of_name)
                && !after.is_some_and(part_of_name)
        })
        .map(|(start, _)| start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_a_whole_word_only() {
        let line = "timeout calling order-service: 5s";
        assert!(names(line, "order-service"));
        for other in ["order", "service", "pay", ""] {
            assert!(!names(line, other), "{other}");
        }
        assert!(names("ä order-service", "order-service"));
    }

    #[test]
    fn where_a_request_came_from_is_no_dependency() {
        assert!(names_dependency(
            "user-service answered 503",
            "user-service"
        ));
        assert!(!names_dependency(
            "bad request from user-service",
            "user-service"
        ));
        assert!(names_dependency(
            "request from user-service failed: user-service gave no answer",
            "user-service"
        ));
        for answer in [
            "no answer from user-service within 200 ms",
            "unexpected response: from user-service",
            "got 503 from user-service",
        ] {
            assert!(names_dependency(answer, "user-service"), "{answer}");
        }
    }
}

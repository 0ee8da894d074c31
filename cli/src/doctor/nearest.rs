//! Names that were meant: which known name is nearest to an unknown one.

/// The known name that differs from `name` in the fewest letters, if that is
/// few enough to be a slip.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove or replace to get from one to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        // Wagner and Fischer's example, and the usual one.
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("flaw", "lawn"), 2);
    }

    #[test]
    fn a_slip_finds_what_was_meant_and_another_word_does_not() {
        let known = ["SMTP_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"];
        let found = |name| nearest(name, known);
        assert_eq!(
            found("KAFKA_BOOTSTRAP_SERVER"),
            Some("KAFKA_BOOTSTRAP_SERVERS")
        );
        assert_eq!(found("REDIS_URI"), Some("REDIS_URL"));
        assert_eq!(found("FAVOURITE_COLOUR"), None);
    }
}

//! The picture: one panel for each series, complete in itself.
//!
//! No script, no reference to anything outside; light or dark as the viewer
//! prefers. What came from telemetry is escaped, also what XML cannot hold.

mod axes;
mod panel;

use super::plot::{Alert, Plot};
use std::fmt::Write as _;

/// Everything is in units of the view box.
const WIDTH: f64 = 1040.0;
const HEAD: f64 = 74.0;
const PANEL: f64 = 262.0;
const FOOT: f64 = 28.0;

const STYLE: &str = "\
:root{--paper:#fff;--ink:#17212b;--faint:#66727f;--grid:#e8ecf0;--line:#1a66d6;--band:#1a66d6;--wash:.14;\
--expected:#5b7ba8;--score:#d97a00;--alert:#cf222e}\
@media(prefers-color-scheme:dark){:root{--paper:#0e141b;--ink:#e6edf3;--faint:#95a3b1;--grid:#222c37;\
--line:#69b1ff;--band:#69b1ff;--wash:.22;--expected:#8fb0d6;--score:#f2a93b;--alert:#ff6b6b}}\
text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--faint)}\
.h{font-size:18px;font-weight:600;fill:var(--ink)}.n{font-size:13px;font-weight:600;fill:var(--ink)}\
.r{text-anchor:end}.m{text-anchor:middle}.w{fill:var(--alert)}.paper{fill:var(--paper)}\
.grid{stroke:var(--grid);stroke-width:1}.band{fill:var(--band);fill-opacity:var(--wash)}\
.line{fill:none;stroke:var(--line);stroke-width:1.3;stroke-linejoin:round;stroke-linecap:round}\
.expected{fill:none;stroke:var(--expected);stroke-width:1;stroke-dasharray:4 3}\
.score{fill:var(--score);fill-opacity:.75}.strip{fill:var(--score);fill-opacity:.07}.half{stroke:var(--score);stroke-opacity:.45;stroke-dasharray:1 4}\
.alert line{stroke:var(--alert);stroke-width:1;stroke-opacity:.45}\
.alert .hit{stroke-width:9;stroke-opacity:0}.alert:hover line{stroke-opacity:.9}.alert:hover .hit{stroke-opacity:.15}\
.alert circle{fill:var(--alert);stroke:var(--paper);stroke-width:1.5}";

/// Draws what has been seen.
pub fn draw(plot: &Plot) -> String {
    let chosen = plot.chosen();
    let height = HEAD + PANEL * chosen.len().max(1) as f64 + FOOT;
    let samples: u64 = chosen.iter().map(|trace| trace.samples).sum();
    let alerts: u64 = chosen.iter().map(|trace| trace.alert_count).sum();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>What midwatch detect found</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let shown = if plot.series() > chosen.len() {
        format!(
            "{} of {} series, those with alerts first",
            chosen.len(),
            plot.series()
        )
    } else {
        counted(plot.series() as u64, "series", "series")
    };
    let summary = format!(
        "{shown} · {} · {}",
        counted(samples, "sample", "samples"),
        counted(alerts, "alert", "alerts")
    );
    put(
        &mut out,
        format_args!("<text class=\"h\" x=\"24\" y=\"34\">midwatch detect</text>\n"),
    );
    put(
        &mut out,
        format_args!("<text x=\"24\" y=\"54\">{summary}</text>\n"),
    );
    legend(&mut out);
    if chosen.is_empty() {
        let middle = HEAD + PANEL / 2.0;
        put(
            &mut out,
            format_args!(
                "<text class=\"m\" x=\"{}\" y=\"{middle}\">no sample was judged</text>\n",
                WIDTH / 2.0
            ),
        );
    }
    let common = axes::common_times(&chosen);
    for (index, trace) in chosen.iter().enumerate() {
        let top = HEAD + PANEL * index as f64;
        panel::draw(&mut out, trace, index, top, common);
    }
    put(
        &mut out,
        format_args!(
            "<text x=\"24\" y=\"{}\">Times in UTC. Lowest and highest readings of each column are drawn, so peaks stay. Alerts say why when pointed at.</text>\n</svg>\n",
            height - 12.0
        ),
    );
    out
}

/// What the colours mean, at the right of the head.
fn legend(out: &mut String) {
    out.push_str(
        "<g transform=\"translate(636 44)\">\
         <path class=\"line\" d=\"M0 6h22\"/><text x=\"28\" y=\"10\">value</text>\
         <path class=\"expected\" d=\"M72 6h22\"/><text x=\"100\" y=\"10\">expected</text>\
         <rect class=\"band\" x=\"162\" width=\"22\" height=\"12\"/><text x=\"190\" y=\"10\">usual band</text>\
         <rect class=\"score\" x=\"262\" width=\"22\" height=\"12\"/><text x=\"290\" y=\"10\">score</text>\
         <g class=\"alert\"><circle cx=\"345\" cy=\"6\" r=\"4.5\"/></g><text x=\"355\" y=\"10\">alert</text></g>\n",
    );
}

/// `1 alert`, `20 000 samples`.
fn counted(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    format!("{} {noun}", crate::output::count(number))
}

/// What is said of an alert when it is pointed at.
fn tooltip(alert: &Alert, unit: &str) -> String {
    let mut text = super::calendar::show(alert.at_ms);
    let mut add = |part: std::fmt::Arguments<'_>| put(&mut text, part);
    add(format_args!("\nvalue {}", axes::figure(alert.value, unit)));
    let [expected, low, high] = alert.band.map(|number| axes::figure(number, unit));
    if alert.band[0].is_finite() {
        add(format_args!(
            ", expected {expected} (usual {low} to {high})"
        ));
    }
    add(format_args!(", score {:.3}", alert.score));
    if !alert.reason.is_empty() {
        add(format_args!("\n{}", alert.reason));
    }
    escape(&text)
}

/// Text as XML takes it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            // Not even a reference to these is XML 1.0; the others turn the
            // direction of writing.
            '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('·');
            }
            letter if letter.is_control() => out.push('·'),
            letter => out.push(letter),
        }
    }
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a text in memory takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(
            escape("<a href=\"x\">&'\0\u{1b}\u{202e}\u{ffff}é"),
            "&lt;a href=&quot;x&quot;&gt;&amp;'····é"
        );
    }

    #[test]
    fn an_empty_picture_says_so() {
        let text = draw(&Plot::default());
        assert!(text.contains("no sample was judged") && text.ends_with("</svg>\n"));
    }
}

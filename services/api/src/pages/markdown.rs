//! Markdown of postmortems as HTML, without anything active in it.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Renders Markdown. Raw HTML becomes text, links keep their address only
/// where it is `http`, `https`, `mailto` or a place on the page, images become
/// their description, and headings begin below those of the page.
#[must_use]
pub fn render(markdown: &str) -> String {
    to_html(markdown, true)
}

/// The same with links as their text: of documents that were found by a
/// search nobody has looked at where they lead.
#[must_use]
pub fn without_links(markdown: &str) -> String {
    to_html(markdown, false)
}

fn to_html(markdown: &str, links: bool) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    let events = Parser::new_ext(markdown, options)
        .filter(|event| {
            let link = matches!(
                event,
                Event::Start(Tag::Link { .. }) | Event::End(TagEnd::Link)
            );
            links || !link
        })
        .map(tame);
    let mut out = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut out, events);
    // A wide table scrolls by itself instead of the page.
    out.replace("<table>", "<div class=\"scroll\"><table>")
        .replace("</table>", "</table></div>")
}

fn tame(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: if is_harmless(&dest_url) {
                dest_url
            } else {
                CowStr::Borrowed("#")
            },
            title,
            id,
        }),
        Event::Start(Tag::Image { .. }) => Event::Start(Tag::Emphasis),
        Event::End(TagEnd::Image) => Event::End(TagEnd::Emphasis),
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: below(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        other => other,
    }
}

fn is_harmless(address: &str) -> bool {
    let lower = address.trim().to_ascii_lowercase();
    lower.starts_with('#')
        || (lower.starts_with('/') && !lower.starts_with("//"))
        || ["http://", "https://", "mailto:"]
            .iter()
            .any(|scheme| lower.starts_with(scheme))
}

fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_becomes_its_text() {
        let html =
            without_links("See [the *list*](https://elsewhere.example) and <https://x.example>.");
        assert_eq!(
            html,
            "<p>See the <em>list</em> and https://x.example.</p>\n"
        );
    }

    #[test]
    fn nothing_active_comes_through() {
        let hostile = "# <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n\
            a <b onclick=x>b</b> [go](javascript:alert(1)) [go](JaVaScRiPt:alert(1)) \
            [data](data:text/html,x) ![shot](http://elsewhere/x.png)\n\n\
            | a |\n|---|\n| <i>x</i> |\n\n`<code>`\n";
        let html = render(hostile);
        for active in [
            "<script",
            "<img",
            "<b ",
            "<i>",
            "javascript:",
            "data:",
            "onclick=x>b</b>\">",
        ] {
            assert!(!html.to_lowercase().contains(active), "{active} in {html}");
        }
        assert!(
            html.contains("&lt;img src=x onerror=alert(1)&gt;"),
            "{html}"
        );
        assert!(html.contains("<code>&lt;code&gt;</code>"), "{html}");
        assert!(html.contains("<em>shot</em>"), "{html}");
    }

    #[test]
    fn the_records_of_a_postmortem_are_footnotes() {
        let snapshot = include_str!(
            "../../../postmortem/tests/snapshots/documents__the_postmortem_of_exhausted_connections.snap"
        );
        let (_, text) = snapshot[3..]
            .split_once("---\n")
            .expect("a snapshot has a head");
        let html = render(text);
        assert!(!html.contains("[^"), "{html}");
        let listed = text.matches("\n[^").count();
        assert!(listed > 5, "{text}");
        for number in 1..=listed {
            let link = format!(r##"<a href="#{number}">{number}</a>"##);
            let target = format!(r#"<div class="footnote-definition" id="{number}">"#);
            assert!(html.contains(&link), "{link} in {html}");
            assert_eq!(html.matches(&target).count(), 1, "{target} in {html}");
        }
        let hostile = "a[^x\"><i>] b[^1]\n\n[^x\"><i>]: <b>bold</b>\n\n[^1]: <img src=x>\n";
        let html = render(hostile);
        for active in ["<i>", "<b>", "<img"] {
            assert!(!html.contains(active), "{active} in {html}");
        }
    }

    #[test]
    fn what_is_meant_comes_through() {
        let html = render(
            "# Postmortem\n\n## Summary\n\n**4** min, see [docs](https://example.com)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        );
        assert_eq!(
            html,
            "<h3>Postmortem</h3>\n<h4>Summary</h4>\n<p><strong>4</strong> min, see \
             <a href=\"https://example.com\">docs</a></p>\n<div class=\"scroll\"><table><thead>\
             <tr><th>a</th><th>b</th></tr></thead><tbody>\n<tr><td>1</td><td>2</td></tr>\n\
             </tbody></table></div>\n"
        );
    }
}

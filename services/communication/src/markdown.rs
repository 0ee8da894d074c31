//! A postmortem's Markdown as HTML for a mail: raw HTML stays text, links go
//! to the web or nowhere, and there are no images.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// The text as HTML without anything that a record could have smuggled in.
#[must_use]
pub fn to_html(markdown: &str) -> String {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).filter_map(|event| match event {
        // As text, it is escaped when it is written.
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Some(Event::Start(Tag::Link {
            link_type,
            dest_url: web_only(dest_url),
            title,
            id,
        })),
        other => Some(other),
    });
    let mut written = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut written, events);
    written
}

fn web_only(url: CowStr<'_>) -> CowStr<'_> {
    if url.starts_with("https://") || url.starts_with("http://") || url.starts_with('#') {
        url
    } else {
        CowStr::Borrowed("#")
    }
}

/// At most `limit` bytes, cut at a line's end, and whether anything was cut.
/// Control characters other than line ends and tabs are dropped.
#[must_use]
pub fn shorten(markdown: &str, limit: usize) -> (String, bool) {
    let clean: String = markdown
        .chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect();
    if clean.len() <= limit {
        return (clean, false);
    }
    let mut kept = String::with_capacity(limit);
    for line in clean.split_inclusive('\n') {
        if kept.len() + line.len() > limit {
            break;
        }
        kept.push_str(line);
    }
    (kept, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_the_text_stays_text() {
        let html = to_html(
            "# A <img src=x onerror=alert(1)>\n\n<script>alert(2)</script>\n\n[a](javascript:alert(3)) ![b](http://example.com/b.png)\n",
        );
        for bad in ["<img", "<script", "javascript:", "b.png"] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        assert!(
            html.contains("&lt;img src=x onerror=alert(1)&gt;"),
            "{html}"
        );
    }

    #[test]
    fn a_long_text_is_cut_at_a_lines_end() {
        assert_eq!(shorten("ab\ncd\nef\n", 7), ("ab\ncd\n".to_owned(), true));
        assert_eq!(shorten("ab\0\n", 7), ("ab\n".to_owned(), false));
    }
}

//! [pure] Whether a document has come whole. The SDK reads what there is of one and takes its end for the document's: a
//! listing that has broken off would be a short one. An answer may just end with its connection, and a proxy may give an end
//! of its own to one that did.

/// Whether a text ends as it has begun: a document with the end of its first element, and anything else anyhow.
pub(super) fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with('<') {
        return true;
    }
    let Some(root) = root(text) else { return false };
    let name = root.split(|next: char| next.is_whitespace() || matches!(next, '/' | '>')).next().unwrap_or_default();
    let end = text.strip_suffix('>').map(str::trim_end);
    let is_closed = end.is_some_and(|text| text.strip_suffix(name).is_some_and(|text| text.ends_with("</")));
    // An element of nothing else.
    is_closed || end.is_some_and(|text| text.ends_with('/')) && !root.contains('<')
}

/// A document from the name of its first element on, behind declarations and comments.
fn root(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start().strip_prefix('<')?;
        let end = match rest {
            comment if comment.starts_with("!--") => "-->",
            declaration if declaration.starts_with(['?', '!']) => ">",
            "" => return None,
            root => return Some(root),
        };
        rest = rest.split_once(end)?.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_has_broken_off_is_not_whole() {
        let whole =
            "\u{feff}<?xml version=\"1.0\"?>\n<!-- <a> -->\n<List xmlns=\"x/y\"><Key>a</Key><Key>b/</Key></List >\n";
        assert!(is_whole(whole.as_bytes()));
        let end = whole.rfind('>').unwrap();
        let begin = whole.find('<').unwrap();
        for cut in (begin + 1..=end).filter(|cut| whole.is_char_boundary(*cut)) {
            assert!(!is_whole(&whole.as_bytes()[..cut]), "{}", &whole[..cut]);
        }
        for whole in ["<List/>", "<List />", "<List a=\"b\"/>", "<a><b/></a>", "<?xml?><a></a>", "", " ", "{}", "token"]
        {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for cut in ["<a><b/>", "<", "<!--", "<?xml?>", "<aa></a>", "<a></aa>", "<a><a/>"] {
            assert!(!is_whole(cut.as_bytes()), "{cut}");
        }
    }
}

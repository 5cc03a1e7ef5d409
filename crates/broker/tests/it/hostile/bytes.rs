//! Bytes as a reader sees them: hexadecimal digits; `'text'` is a text with its two bytes of length; `"text"` one
//! without; `{` … `}` is what an MQTT length counts, written before it.

/// The bytes of a text in this notation.
///
/// # Panics
/// When it is none.
pub(crate) fn of(text: &str) -> Vec<u8> {
    // The bytes of the open braces, from the outside in.
    let mut levels = vec![Vec::new()];
    let mut chars = text.chars();
    let mut digit: Option<u8> = None;
    while let Some(c) = chars.next() {
        let top = levels.last_mut().expect("a level");
        match c {
            ' ' => {}
            '{' => levels.push(Vec::new()),
            '}' => {
                let body = levels.pop().expect("an open brace");
                let top = levels.last_mut().expect("a brace too many");
                top.extend(length(body.len()));
                top.extend(body);
            }
            '\'' | '"' => {
                let text: String = chars.by_ref().take_while(|&next| next != c).collect();
                if c == '\'' {
                    top.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
                }
                top.extend(text.bytes());
            }
            _ => {
                let value = u8::try_from(c.to_digit(16).unwrap_or_else(|| panic!("`{c}` in {text}")))
                    .expect("a digit");
                match digit.take() {
                    None => digit = Some(value << 4),
                    Some(high) => top.push(high | value),
                }
            }
        }
    }
    assert!(digit.is_none() && levels.len() == 1, "{text}");
    levels.pop().expect("a level")
}

/// A Variable Byte Integer (MQTT 5.0, section 1.5.5).
pub(crate) fn length(mut bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(bytes % 128).expect("below 128");
        bytes /= 128;
        if bytes == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

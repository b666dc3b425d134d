extension String {
    /// As much of a text as a message or a line has room for: its first `limit` Unicode scalars, and "..." where it goes
    /// on. Takes no longer for a text that fills a file.
    package func beginning(_ limit: Int) -> String {
        let head = unicodeScalars.prefix(limit)
        return head.endIndex == unicodeScalars.endIndex ? self : String(head) + "..."
    }
}

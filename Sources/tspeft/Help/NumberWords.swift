import ArgumentParser

/// What to say of a value that is no number, where its option takes one: the parser says only that it is invalid.
enum NumberWords {
    /// `--rank takes a whole number, not 'many'` in place of what the parser says of a command line; nil where it says
    /// something else, or the option takes no number.
    static func refusal(_ message: String, of words: [String]) -> String? {
        guard let (value, option) = parts(message), let place = place(of: value, behind: option, in: words) else {
            return nil
        }
        /// Whether the option takes another value: the parser is asked.
        func takes(_ other: String) -> Bool {
            var asked = words
            asked[place] = "\(option)=\(other)"
            if !words[place].contains("=") { asked.remove(at: place + 1) }
            do {
                _ = try RootCommand.parseAsRoot(asked)
                return true
            } catch {
                return !RootCommand.message(for: error).hasPrefix("The value '\(other)' is invalid for '\(option)")
            }
        }
        guard takes("1") else { return nil }
        return "\(option) takes \(kind(of: value, takes)), not '\(value.beginning(60))'"
    }

    private static func kind(of value: String, _ takes: (String) -> Bool) -> String {
        if takes("5%") { return "a count, or a share such as 5%" }
        if takes("-0.5") { return "a number" }
        if takes("-1") {
            let isWhole = value.dropFirst(value.hasPrefix("-") ? 1 : 0).allSatisfy { ("0"..."9").contains($0) }
            return isWhole && !value.isEmpty ? "a whole number of at most \(Int.max)" : "a whole number"
        }
        return "a whole number from 0 to \(UInt64.max)"
    }

    /// The value and the option that a message speaks of.
    private static func parts(_ message: String) -> (value: String, option: String)? {
        let (start, middle) = ("The value '", "' is invalid for '")
        guard message.hasPrefix(start), let end = message.firstRange(of: middle) else { return nil }
        let option = message[end.upperBound...].prefix { $0 != " " && $0 != "'" }
        guard option.hasPrefix("-") else { return nil }
        return (String(message[..<end.lowerBound].dropFirst(start.count)), String(option))
    }

    /// Where the option with this value begins.
    private static func place(of value: String, behind option: String, in words: [String]) -> Int? {
        words.indices.last { index in
            words[index] == "\(option)=\(value)"
                || words[index] == option && index + 1 < words.count && words[index + 1] == value
        }
    }
}

/// Dotted names of tensors and modules, taken apart.
enum NamePath {
    private static let dot = UInt8(ascii: ".")

    /// What stands for a number in a pattern.
    static let numberMark: Substring = "#"

    /// Whether a component is a number, as those of layers and experts are, or stands for one in a pattern.
    static func isNumber(_ component: Substring) -> Bool {
        component == numberMark
            || !component.isEmpty && component.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// A name with marks for its numbers, and the numbers.
    static func pattern(of name: String) -> (pattern: String, numbers: [Substring]) {
        var pattern = ""
        pattern.reserveCapacity(name.utf8.count)
        var numbers: [Substring] = []
        var start = name.utf8.startIndex
        while true {
            let end = name.utf8[start...].firstIndex(of: dot) ?? name.utf8.endIndex
            let component = name[start..<end]
            if isNumber(component) {
                numbers.append(component)
                pattern += numberMark
            } else {
                pattern += component
            }
            guard end < name.utf8.endIndex else { return (pattern, numbers) }
            pattern += "."
            start = name.utf8.index(after: end)
        }
    }

    /// A pattern with numbers in the places of its marks; nil where there are not as many.
    static func filled(_ pattern: String, _ numbers: [Substring]) -> String? {
        var name = ""
        name.reserveCapacity(pattern.utf8.count + 8)
        var next = 0
        var start = pattern.utf8.startIndex
        while true {
            let end = pattern.utf8[start...].firstIndex(of: dot) ?? pattern.utf8.endIndex
            let component = pattern[start..<end]
            if component == numberMark {
                guard next < numbers.count else { return nil }
                name += numbers[next]
                next += 1
            } else {
                name += component
            }
            guard end < pattern.utf8.endIndex else { return next == numbers.count ? name : nil }
            name += "."
            start = pattern.utf8.index(after: end)
        }
    }

    /// The components of a name.
    static func components(_ name: String) -> [Substring] {
        name.utf8.split(separator: dot, omittingEmptySubsequences: false).map { Substring($0) }
    }

    /// The name of components.
    static func joined(_ components: some Sequence<Substring>) -> String { components.joined(separator: ".") }

    /// What stands before the first component that is a number, without the dot, and the rest from that number on; a path
    /// without a number is all prefix.
    static func split(_ path: String) -> (prefix: Substring, rest: Substring) {
        let bytes = path.utf8
        var start = bytes.startIndex
        while start < bytes.endIndex {
            let end = bytes[start...].firstIndex(of: dot) ?? bytes.endIndex
            if isNumber(path[start..<end]) {
                let cut = start == bytes.startIndex ? start : bytes.index(before: start)
                return (path[..<cut], path[start...])
            }
            start = end == bytes.endIndex ? end : bytes.index(after: end)
        }
        return (path[...], "")
    }

    /// The number at the beginning of what `split` calls the rest.
    static func number(of rest: some StringProtocol) -> Int? { Int(rest.prefix { $0 != "." }) }

    /// A path from a prefix and a rest, each of which may be empty.
    static func path(_ prefix: some StringProtocol, _ rest: some StringProtocol) -> String {
        prefix.isEmpty ? String(rest) : rest.isEmpty ? String(prefix) : "\(prefix).\(rest)"
    }

    /// A name without its last component, and that component; a name of one component has an empty parent.
    static func parent(_ name: String) -> (parent: String, last: String) {
        guard let cut = name.utf8.lastIndex(of: dot) else { return ("", name) }
        return (String(name[..<cut]), String(name[name.utf8.index(after: cut)...]))
    }
}

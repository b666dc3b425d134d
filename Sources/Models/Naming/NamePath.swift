/// Dotted names of tensors and modules, taken apart.
enum NamePath {
    private static let dot = UInt8(ascii: ".")

    /// Whether a component is a number, as those of layers and experts are.
    static func isNumber(_ component: some StringProtocol) -> Bool {
        !component.isEmpty && component.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// The components of a name.
    static func components(_ name: String) -> [Substring] {
        name.split(separator: ".", omittingEmptySubsequences: false)
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

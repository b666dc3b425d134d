import Synchronization
import TensorCore

/// A name of the base that is near to one that it lacks, and what differs.
package struct NearName: Sendable, Equatable, CustomStringConvertible {
    /// The base's name.
    package let name: String
    /// The components in which it differs.
    package let found: String
    /// The components that the other has there.
    package let wanted: String

    init(name: String, wanted: [Substring]) {
        let own = NamePath.components(name)
        let start = zip(own, wanted).prefix { $0 == $1 }.count
        let end = min(
            zip(own.reversed(), wanted.reversed()).prefix { $0 == $1 }.count, min(own.count, wanted.count) - start)
        self.name = name
        found = NamePath.joined(own[start..<own.count - end])
        self.wanted = NamePath.joined(wanted[start..<wanted.count - end])
    }

    package var description: String {
        if found.isEmpty { return "'\(name)' (without '\(wanted)')" }
        return wanted.isEmpty ? "'\(name)' (with '\(found)')" : "'\(name)' ('\(found)' for '\(wanted)')"
    }
}

/// Looks for the names of a base that are nearest to one that it lacks; what it looks through is made when first asked.
final class NearNames: Sendable {
    /// Names offered at most.
    private static let limit = 3
    /// A base that has more patterns than this is not looked through whole.
    private static let patternLimit = 2000

    private struct Memory {
        /// By the pattern of the base's modules, the numbers of one of them.
        var patterns: NameTable<[Substring]> = [:]
        /// By the pattern of a name, the patterns nearest to it.
        var nearest: NameTable<[String]> = [:]
    }
    private let memory = Mutex(Memory())

    /// The modules nearest to `name`: by pattern, each with the name's own numbers where the base has that.
    func nearest(to name: String, among shapes: NameTable<[Int]>) -> [NearName] {
        let wanted = NamePath.components(name)
        let (pattern, numbers) = NamePath.pattern(of: name)
        return memory.withLock { memory in
            if memory.patterns.isEmpty { memory.patterns = Self.patterns(of: shapes) }
            let found = memory.nearest[pattern] ?? Self.nearest(to: pattern, among: memory.patterns.keys)
            memory.nearest[pattern] = found
            let modules = found.compactMap { near -> String? in
                if let own = NamePath.filled(near, numbers), Self.holds(own, shapes) { return own }
                return memory.patterns[near].flatMap { NamePath.filled(near, $0) }
            }
            return modules.map { NearName(name: $0, wanted: wanted) }
        }
    }

    private static func holds(_ module: String, _ shapes: NameTable<[Int]>) -> Bool {
        shapes["\(module).weight"] != nil || shapes[module] != nil
    }

    private static func patterns(of shapes: NameTable<[Int]>) -> NameTable<[Substring]> {
        var patterns: NameTable<[Substring]> = [:]
        for name in shapes.keys.sorted() where patterns.count < patternLimit {
            let (module, last) = NamePath.parent(name)
            let (pattern, numbers) = NamePath.pattern(of: last == "weight" ? module : name)
            if patterns[pattern] == nil { patterns[pattern] = numbers }
        }
        return patterns
    }

    private static func nearest(to pattern: String, among patterns: some Sequence<String>) -> [String] {
        let target = Array(pattern.utf8)
        var best: [(distance: Int, pattern: String)] = []
        for candidate in patterns {
            let bound = best.count == limit ? best[limit - 1].distance : Int.max
            guard abs(candidate.utf8.count - target.count) <= bound else { continue }
            best.append((EditDistance.between(target, Array(candidate.utf8)), candidate))
            best.sort { ($0.distance, $0.pattern) < ($1.distance, $1.pattern) }
            if best.count > limit { best.removeLast() }
        }
        return best.map(\.pattern)
    }
}

/// A loop while it runs: the variable `loop`. Looks ahead only when it is asked what comes.
final class JinjaLoop {
    private var iterator: JinjaIterator
    private let knownCount: Int?
    private var current: JinjaValue?
    private var after: JinjaValue?
    private(set) var before: JinjaValue?
    private(set) var index0 = -1
    private var lastChanged: JinjaList?
    let depth0: Int
    /// Levels of values in its elements.
    let depth: Int
    /// The loop's own syntax and scope where it may be called for what stands inside an element.
    let recursion: (syntax: JinjaForLoop, scope: JinjaScope)?

    init(
        _ iterator: JinjaIterator, count: Int?, depth0: Int, recursion: (syntax: JinjaForLoop, scope: JinjaScope)?
    ) {
        self.iterator = iterator
        depth = iterator.depth
        knownCount = count
        self.depth0 = depth0
        self.recursion = recursion
    }

    /// Goes on to the next element; nil after the last.
    func advance() throws(JinjaError) -> JinjaValue? {
        let value: JinjaValue?
        if let after {
            value = after
            self.after = nil
        } else {
            value = try iterator.next()
        }
        guard let value else { return nil }
        index0 += 1
        before = current
        current = value
        return value
    }

    /// The element that comes; nil at the last.
    func peek() throws(JinjaError) -> JinjaValue? {
        if after == nil { after = try iterator.next() }
        return after
    }

    /// How many elements there are; reads them all where that is not known before.
    func count() throws(JinjaError) -> Int {
        if let knownCount { return knownCount }
        var rest: [JinjaValue] = []
        while let value = try iterator.next() { rest.append(value) }
        iterator = JinjaIterator(rest, depth: iterator.depth)
        return rest.count + index0 + 1 + (after == nil ? 0 : 1)
    }

    /// A member of the variable `loop`; nil where it has none of that name.
    func member(_ name: String) throws(JinjaError) -> JinjaValue? {
        switch name {
        case "index": return .integer(index0 + 1)
        case "index0": return .integer(index0)
        case "first": return .bool(index0 == 0)
        case "last": return .bool(try peek() == nil)
        case "length": return .integer(try count())
        case "revindex": return .integer(try count() - index0)
        case "revindex0": return .integer(try count() - index0 - 1)
        case "depth": return .integer(depth0 + 1)
        case "depth0": return .integer(depth0)
        case "previtem": return index0 > 0 ? before ?? .none : .undefined("there is no previous item")
        case "nextitem": return try peek() ?? .undefined("there is no next item")
        case "cycle", "changed": return .function(JinjaFunction(name, of: .loop(self)))
        default: return nil
        }
    }

    /// Whether `values` are other than at the last call.
    func hasChanged(_ values: JinjaList) -> Bool {
        defer { lastChanged = values }
        guard let lastChanged else { return true }
        return !JinjaValue.tuple(lastChanged).equals(.tuple(values))
    }

    /// Lets go of all values, so that none is held by itself.
    func clear() {
        iterator = JinjaIterator([], depth: 0)
        (current, after, before, lastChanged) = (nil, nil, nil, nil)
    }
}

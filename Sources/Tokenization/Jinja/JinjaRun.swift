import TensorCore

/// One run of a template.
///
/// Does what Jinja 3.1 does in the environment that transformers gives chat templates (immutable sandbox, loop
/// controls), within bounds: where Python would take more and more time or memory, the run ends with a sentence.
/// Deterministic: there is no clock but the one that is given, and nothing random.
final class JinjaRun {
    /// Steps of a run at most: expressions, statements, elements of lists. Far more than a conversation needs, so that
    /// only a hostile template meets it.
    private static let workLimit = 3 << 20
    /// Characters of one text at most, of which UTF-8 makes up to 64 MiB, and of all texts that a run makes.
    private static let textLimit = 16 << 20
    private static let allTextLimit = 40 << 20
    /// Bodies, expressions and calls within one another at most, so that the stack suffices.
    private static let depthLimit = 400

    let blocks: [String: JinjaBlockSyntax]
    let clock: ChatClock?
    /// The template's own variables, in those that it is given.
    let scope: JinjaScope
    /// The text so far of the body that is run.
    var output = JinjaText()
    /// How much stands outside of all bodies whose text is caught, while one is.
    var finishedCount: Int?
    var generations: [Range<Int>] = []
    /// Whether what is put out is escaped for HTML.
    var escapes = false
    private var work = 0
    private var textCount = 0
    private var depth = 0
    /// What may hold itself, to be let go at the end.
    private var scopes: [JinjaScope] = []
    private var namespaces: [JinjaNamespace] = []
    private var loops: [JinjaLoop] = []

    /// Runs a template with the given variables; the text that it puts out, and where the blocks marked `generation`
    /// stand in it, in scalars.
    static func run(
        _ statements: [JinjaStatement], blocks: [String: JinjaBlockSyntax], variables: NameTable<JinjaValue>,
        clock: ChatClock?
    ) throws(JinjaError) -> (text: JinjaText, generations: [Range<Int>]) {
        let run = JinjaRun(blocks: blocks, variables: variables, clock: clock)
        defer { run.clear() }
        _ = try run.run(statements, in: run.scope)
        return (run.output, run.generations)
    }

    private init(blocks: [String: JinjaBlockSyntax], variables: NameTable<JinjaValue>, clock: ChatClock?) {
        self.blocks = blocks
        self.clock = clock
        var given: NameTable<JinjaValue> = ["self": .template]
        for name in Self.globals { given[name] = .function(JinjaFunction(name)) }
        if clock == nil { given["strftime_now"] = nil }
        for (name, value) in variables { given[name] = value }
        scope = JinjaScope(in: JinjaScope(given))
    }

    // MARK: Bounds

    /// Pays for `count` steps.
    func spend(_ count: Int) throws(JinjaError) {
        if count > Self.workLimit - work { throw .failed("it takes too many steps") }
        work += count
    }

    /// Pays for a text of `count` characters.
    func spendText(_ count: Int) throws(JinjaError) {
        if count > Self.textLimit { throw .failed("it makes too long a text") }
        if count > Self.allTextLimit - textCount { throw .failed("it makes too much text") }
        textCount += count
    }

    /// Refuses a text of more than the characters that one may have.
    func checkText(_ count: Int) throws(JinjaError) {
        if count > Self.textLimit { throw .failed("it makes too long a text") }
    }

    func enter() throws(JinjaError) {
        if depth >= Self.depthLimit { throw .failed("what it runs is nested too deeply") }
        depth += 1
    }

    func leave() { depth -= 1 }

    // MARK: Values that are made

    func makeScope(_ variables: NameTable<JinjaValue> = [:], in outer: JinjaScope) throws(JinjaError) -> JinjaScope {
        try spend(1)
        return JinjaScope(variables, in: outer)
    }

    /// Keeps in mind that a scope is held by a macro that it may hold.
    func remember(_ scope: JinjaScope) { if scopes.last !== scope { scopes.append(scope) } }

    func makeNamespace(_ members: [(key: JinjaValue, value: JinjaValue)]) -> JinjaValue {
        let namespace = JinjaNamespace(members)
        namespaces.append(namespace)
        return .namespace(namespace)
    }

    func remember(_ loop: JinjaLoop) { loops.append(loop) }

    func makeList(_ elements: [JinjaValue]) throws(JinjaError) -> JinjaList {
        try spend(elements.count)
        return try JinjaList(elements)
    }

    func list(_ elements: [JinjaValue]) throws(JinjaError) -> JinjaValue { .list(try makeList(elements)) }
    func tuple(_ elements: [JinjaValue]) throws(JinjaError) -> JinjaValue { .tuple(try makeList(elements)) }

    /// A value that gives its elements one after the other.
    func makeIterator(
        over source: JinjaValue, _ step: @escaping () throws(JinjaError) -> JinjaValue?
    ) throws(JinjaError) -> JinjaValue {
        .iterator(JinjaIterator(depth: try JinjaList.depth(of: [source]), step))
    }

    /// The key of a value, for which a long text is paid.
    func key(_ value: JinjaValue) throws(JinjaError) -> JinjaKey? {
        if case .text(let text) = value { try spend(text.count / 64) }
        return JinjaKey(value)
    }

    func dictionary(_ members: [(key: JinjaValue, value: JinjaValue)]) throws(JinjaError) -> JinjaValue {
        try spend(members.count)
        for member in members { _ = try key(member.key) }
        return .dictionary(try JinjaDictionary(members))
    }

    private func clear() {
        for scope in scopes { scope.clear() }
        for namespace in namespaces { namespace.members = [] }
        for loop in loops { loop.clear() }
        scope.clear()
    }
}

// MARK: - Iteration

extension JinjaRun {
    /// A value's elements one after the other.
    func iterate(_ value: JinjaValue) throws(JinjaError) -> JinjaIterator {
        let depth = value.depth
        switch value {
        case .list(let list), .tuple(let list): return JinjaIterator(list.elements, depth: depth)
        case .dictionary(let dictionary): return JinjaIterator(dictionary.keys, depth: depth)
        case .iterator(let iterator): return iterator
        case .undefined: return JinjaIterator([], depth: 0)
        case .text(let text):
            return Self.indexed(text.count, depth: 0) { .text(text[$0..<$0 + 1]) }
        case .range(let range):
            return Self.indexed(range.count, depth: 0) { range[$0] }
        case .view(let view):
            let dictionary = view.dictionary
            switch view.kind {
            case .keys: return JinjaIterator(dictionary.keys, depth: depth)
            case .values: return JinjaIterator(dictionary.values, depth: depth)
            case .items:
                return Self.indexed(dictionary.count, depth: depth) { (index) throws(JinjaError) in
                    .tuple(try JinjaList([dictionary.keys[index], dictionary.values[index]]))
                }
            }
        case .loop(let loop):
            return JinjaIterator(depth: depth) { [self] () throws(JinjaError) in
                guard let value = try loop.advance() else { return nil }
                return try tuple([value, .loop(loop)])
            }
        default: throw .failed("\(value.kind) has no elements to go over")
        }
    }

    private static func indexed(
        _ count: Int, depth: Int, _ element: @escaping (Int) throws(JinjaError) -> JinjaValue
    ) -> JinjaIterator {
        var index = 0
        return JinjaIterator(depth: depth) { () throws(JinjaError) in
            guard index < count else { return nil }
            index += 1
            return try element(index - 1)
        }
    }

    /// All elements of a value.
    func elements(of value: JinjaValue) throws(JinjaError) -> [JinjaValue] {
        if case .list(let list) = value { return list.elements }
        if case .tuple(let list) = value { return list.elements }
        let iterator = try iterate(value)
        var elements: [JinjaValue] = []
        while let element = try iterator.next() {
            try spend(1)
            elements.append(element)
        }
        return elements
    }

    /// Python's `len`; nil for what has none.
    func length(of value: JinjaValue) throws(JinjaError) -> Int? {
        switch value {
        case .text(let text): text.count
        case .list(let list), .tuple(let list): list.elements.count
        case .dictionary(let dictionary): dictionary.count
        case .view(let view): view.dictionary.count
        case .range(let range): range.count
        case .loop(let loop): try loop.count()
        case .undefined: 0
        default: nil
        }
    }
}

import TensorCore

/// A value while a template runs: what Python has it as.
enum JinjaValue {
    /// What a name or a member that is not there stands for; the reason is told where it is used.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case text(JinjaText)
    case list(JinjaList)
    case tuple(JinjaList)
    case dictionary(JinjaDictionary)
    case range(JinjaRange)
    /// A dictionary's keys, values or items.
    case view(JinjaView)
    /// What gives its elements once.
    case iterator(JinjaIterator)
    case namespace(JinjaNamespace)
    case macro(JinjaMacro)
    case function(JinjaFunction)
    case loop(JinjaLoop)
    case cycler(JinjaCycler)
    case joiner(JinjaJoiner)
    /// The template itself, whose members are its blocks.
    case template
    /// A block of the template.
    case block(String)

    /// A text that nobody said.
    static func plain(_ text: String) -> JinjaValue { .text(JinjaText(text)) }

    /// The text, where this is one.
    var asText: JinjaText? { if case .text(let text) = self { text } else { nil } }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }
    var isNone: Bool { if case .none = self { true } else { false } }

    /// The integer, where this is one or a truth value, which counts as 0 or 1.
    var asInteger: Int? {
        switch self {
        case .integer(let value): value
        case .bool(let value): value ? 1 : 0
        default: nil
        }
    }

    /// What the value is, for an error message.
    var kind: String {
        switch self {
        case .undefined(let problem): "an undefined value (\(problem))"
        case .none: "none"
        case .bool: "a truth value"
        case .integer, .float: "a number"
        case .text: "a text"
        case .list: "a list"
        case .tuple: "a tuple"
        case .dictionary: "a dictionary"
        case .range: "a range"
        case .view: "a view of a dictionary"
        case .iterator: "a sequence that is read once"
        case .namespace: "a namespace"
        case .macro, .function, .block: "a function"
        case .loop: "a loop"
        case .cycler: "a cycler"
        case .joiner: "a joiner"
        case .template: "the template"
        }
    }

    /// Levels of lists and dictionaries in the value.
    var depth: Int {
        switch self {
        case .list(let list), .tuple(let list): list.depth
        case .dictionary(let dictionary): dictionary.depth
        case .view(let view): view.dictionary.depth + 1
        case .iterator(let iterator): iterator.depth
        case .function(let function): function.depth
        case .cycler(let cycler): cycler.items.depth
        case .joiner(let joiner): joiner.depth
        case .loop(let loop): loop.depth
        default: 0
        }
    }
}

/// The elements of a list or a tuple; an object, so that what is the same one can be told.
final class JinjaList {
    /// Levels of values in values at most, so that no value is too deep to walk through or to give back.
    static let depthLimit = 64

    let elements: [JinjaValue]
    let depth: Int
    /// Whether this is a group of the filter `groupby`, whose two elements have names.
    let isGroup: Bool

    init(_ elements: [JinjaValue], isGroup: Bool = false) throws(JinjaError) {
        self.elements = elements
        self.isGroup = isGroup
        depth = try Self.depth(of: elements)
    }

    /// One level more than the deepest of `elements`.
    static func depth(of elements: [JinjaValue]) throws(JinjaError) -> Int {
        var depth = 0
        for element in elements { depth = max(depth, element.depth) }
        if depth >= depthLimit { throw .failed("a value in it is nested too deeply") }
        return depth + 1
    }
}

/// A value as a key: equal keys are equal values.
enum JinjaKey: Hashable {
    case undefined
    case none
    case integer(Int)
    case float(Double)
    case text([Unicode.Scalar])
    case tuple([JinjaKey])
    case object(ObjectIdentifier)

    /// The key of a value; nil for one that Python has no hash of.
    init?(_ value: JinjaValue) {
        switch value {
        case .undefined: self = .undefined
        case .none: self = .none
        case .bool(let value): self = .integer(value ? 1 : 0)
        case .integer(let value): self = .integer(value)
        case .float(let value): self = Int(exactly: value).map { .integer($0) } ?? .float(value)
        case .text(let text): self = .text(text.scalars)
        case .tuple(let list):
            var keys: [JinjaKey] = []
            for element in list.elements {
                guard let key = JinjaKey(element) else { return nil }
                keys.append(key)
            }
            self = .tuple(keys)
        case .iterator(let object): self = .object(ObjectIdentifier(object))
        case .namespace(let object): self = .object(ObjectIdentifier(object))
        case .macro(let object): self = .object(ObjectIdentifier(object))
        case .loop(let object): self = .object(ObjectIdentifier(object))
        case .cycler(let object): self = .object(ObjectIdentifier(object))
        case .joiner(let object): self = .object(ObjectIdentifier(object))
        default: return nil
        }
    }
}

/// The members of a dictionary in order.
final class JinjaDictionary {
    private(set) var keys: [JinjaValue] = []
    private(set) var values: [JinjaValue] = []
    private var places: [JinjaKey: Int] = [:]
    let depth: Int

    init(_ members: [(key: JinjaValue, value: JinjaValue)]) throws(JinjaError) {
        depth = max(
            try JinjaList.depth(of: members.map(\.value)), try JinjaList.depth(of: members.map(\.key)))
        for member in members {
            guard let key = JinjaKey(member.key) else { throw .failed("\(member.key.kind) is the key of a dictionary") }
            if let place = places[key] {
                values[place] = member.value
            } else {
                places[key] = keys.count
                keys.append(member.key)
                values.append(member.value)
            }
        }
    }

    var count: Int { keys.count }

    subscript(key: JinjaKey) -> JinjaValue? { places[key].map { values[$0] } }
    subscript(name: String) -> JinjaValue? { self[.text(Array(name.unicodeScalars))] }

    /// Keys and values as pairs.
    var members: [(key: JinjaValue, value: JinjaValue)] { Array(zip(keys, values)) }
}

/// The numbers of a `range`.
final class JinjaRange {
    let start: Int
    let stop: Int
    let step: Int
    let count: Int

    init(start: Int, stop: Int, step: Int, count: Int) {
        (self.start, self.stop, self.step, self.count) = (start, stop, step, count)
    }

    subscript(index: Int) -> JinjaValue { .integer(start + index * step) }
}

/// A dictionary's keys, values or items.
final class JinjaView {
    enum Kind: String { case keys, values, items }

    let dictionary: JinjaDictionary
    let kind: Kind

    init(_ dictionary: JinjaDictionary, _ kind: Kind) {
        self.dictionary = dictionary
        self.kind = kind
    }
}

/// What gives its elements one after the other, each once.
final class JinjaIterator {
    private let step: () throws(JinjaError) -> JinjaValue?
    private var isFinished = false
    let depth: Int

    /// - Parameter depth: levels of values in the elements.
    init(depth: Int, _ step: @escaping () throws(JinjaError) -> JinjaValue?) {
        self.depth = min(depth, JinjaList.depthLimit - 1) + 1
        self.step = step
    }

    /// The elements of a list.
    convenience init(_ elements: [JinjaValue], depth: Int) {
        var index = 0
        self.init(depth: depth) {
            guard index < elements.count else { return nil }
            index += 1
            return elements[index - 1]
        }
    }

    /// The next element; nil, from then on, after the last.
    func next() throws(JinjaError) -> JinjaValue? {
        if isFinished { return nil }
        if let value = try step() { return value }
        isFinished = true
        return nil
    }
}

/// Members that may be set from inner scopes.
final class JinjaNamespace {
    var members: [(key: JinjaValue, value: JinjaValue)]

    init(_ members: [(key: JinjaValue, value: JinjaValue)]) {
        self.members = members
    }

    subscript(name: String) -> JinjaValue? {
        get {
            let scalars = Array(name.unicodeScalars)
            return members.first { $0.key.asText?.scalars == scalars }?.value
        }
        set {
            guard let newValue else { return }
            let scalars = Array(name.unicodeScalars)
            if let place = members.firstIndex(where: { $0.key.asText?.scalars == scalars }) {
                members[place].value = newValue
            } else {
                members.append((.plain(name), newValue))
            }
        }
    }
}

/// A function that a template defines, with the variables that it sees.
final class JinjaMacro {
    let syntax: JinjaMacroSyntax
    let scope: JinjaScope
    /// Whether its text escapes what it is made of.
    let escapes: Bool

    init(_ syntax: JinjaMacroSyntax, scope: JinjaScope, escapes: Bool) {
        (self.syntax, self.scope, self.escapes) = (syntax, scope, escapes)
    }
}

/// A function of Jinja's, or a method of a value.
final class JinjaFunction {
    let name: String
    let receiver: JinjaValue?
    let depth: Int

    init(_ name: String, of receiver: JinjaValue? = nil) {
        self.name = name
        self.receiver = receiver
        depth = (receiver?.depth ?? 0) + 1
    }
}

/// Values that follow one another in a circle.
final class JinjaCycler {
    let items: JinjaList
    var position = 0

    init(_ items: JinjaList) {
        self.items = items
    }
}

/// A text that is left out the first time.
final class JinjaJoiner {
    let separator: JinjaValue
    let depth: Int
    var isUsed = false

    init(_ separator: JinjaValue) throws(JinjaError) {
        self.separator = separator
        depth = try JinjaList.depth(of: [separator])
    }
}

/// The variables of a stretch of a template, inside those of another.
final class JinjaScope {
    private(set) var variables: NameTable<JinjaValue>
    let outer: JinjaScope?

    init(_ variables: NameTable<JinjaValue> = [:], in outer: JinjaScope? = nil) {
        self.variables = variables
        self.outer = outer
    }

    subscript(name: String) -> JinjaValue? {
        var scope: JinjaScope? = self
        while let current = scope {
            if let value = current.variables[name] { return value }
            scope = current.outer
        }
        return nil
    }

    func set(_ name: String, _ value: JinjaValue) { variables[name] = value }

    /// Lets go of all values, so that none is held by itself.
    func clear() { variables = [:] }
}

/// Runs the statements of a Jinja template.
///
/// Knows what chat templates use, as Jinja 3 has it; anything else is an error that names it. Deterministic: the
/// current date, which some templates ask for, is not defined, so that they fall back to the date they name.
struct JinjaInterpreter {
    /// Statements, loop turns and numbers of ranges that one run may take, bytes that one text may have, and bytes of
    /// all values that expressions give: far more than a conversation needs, so that only a hostile template meets
    /// them.
    private static let stepLimit = 300_000
    private static let textLimit = 16 << 20
    private static let workLimit = 1 << 28
    /// Macros that may be within one another.
    private static let macroDepthLimit = 20

    private var scopes: [[String: JinjaValue]]
    private var namespaces: [[String: JinjaValue]] = []
    private var output = JinjaText("")
    /// What stands outside of all bodies whose text is caught.
    private var finished: JinjaText?
    private var generations: [Range<Int>] = []
    private var steps = 0
    private var work = 0
    private var macroDepth = 0

    /// How a body was left.
    private enum Exit { case end, leaveLoop, nextTurn }

    /// Runs `statements` with the given variables; the text that they put out, and where the blocks marked
    /// `generation` stand in it, in characters (scalars).
    static func run(
        _ statements: [JinjaStatement], variables: [String: JinjaValue]
    ) throws(TokenizationError) -> (text: JinjaText, generations: [Range<Int>]) {
        var interpreter = JinjaInterpreter(scopes: [variables])
        _ = try interpreter.run(statements)
        return (interpreter.output, interpreter.generations)
    }

    private init(scopes: [[String: JinjaValue]]) {
        self.scopes = scopes
        for name in ["raise_exception", "namespace", "range"] { self.scopes[0][name] = .function(name) }
    }

    private func failure(_ problem: String) -> TokenizationError { .unsupportedTemplate(problem: problem) }

    // MARK: Statements

    private mutating func run(_ statements: [JinjaStatement]) throws(TokenizationError) -> Exit {
        for statement in statements {
            steps += 1
            if steps > Self.stepLimit { throw failure("it takes too many steps") }
            let exit = try run(statement)
            if exit != .end { return exit }
        }
        return .end
    }

    private mutating func run(_ statement: JinjaStatement) throws(TokenizationError) -> Exit {
        switch statement {
        case .text(let text):
            try put(JinjaText(text))
        case .output(let expression):
            try put(try printed(evaluate(expression)))
        case .condition(let branches, let otherwise):
            for branch in branches where try evaluate(branch.condition).isTrue { return try run(branch.body) }
            return try run(otherwise)
        case .loop(let names, let source, let filter, let body, let otherwise):
            try runLoop(names, over: source, filter: filter, body: body, otherwise: otherwise)
        case .set(let name, let expression):
            scopes[scopes.count - 1][name] = try evaluate(expression)
        case .setBlock(let name, let body):
            scopes[scopes.count - 1][name] = .text(try captured(body))
        case .setMember(let name, let member, let expression):
            guard case .namespace(let number) = lookUp(name) else { throw failure("'\(name)' is no namespace") }
            namespaces[number][member] = try evaluate(expression)
        case .macro(let macro):
            scopes[scopes.count - 1][macro.name] = .macro(macro)
        case .generation(let body):
            let start = (finished ?? output).scalarCount
            let said = try captured(body)
            generations.append(start..<start + said.scalarCount)
            try put(said)
        case .leaveLoop:
            return .leaveLoop
        case .nextTurn:
            return .nextTurn
        }
        return .end
    }

    private mutating func put(_ text: JinjaText) throws(TokenizationError) {
        output.append(text)
        // Counting the whole output at each step would be quadratic; the limit on steps bounds the sum.
        if text.byteCount > Self.textLimit { throw failure("it makes too long a text") }
    }

    /// What a body puts out.
    private mutating func captured(_ body: [JinjaStatement]) throws(TokenizationError) -> JinjaText {
        let outer = output
        let isOutermost = finished == nil
        if isOutermost { finished = output }
        output = JinjaText("")
        defer {
            output = outer
            if isOutermost { finished = nil }
        }
        _ = try run(body)
        return output
    }

    private mutating func runLoop(
        _ names: [String], over source: JinjaExpression, filter: JinjaExpression?, body: [JinjaStatement],
        otherwise: [JinjaStatement]
    ) throws(TokenizationError) {
        var turns: [[String: JinjaValue]] = []
        for element in try elements(of: evaluate(source)) {
            var scope: [String: JinjaValue] = [:]
            if names.count == 1 {
                scope[names[0]] = element
            } else {
                guard case .list(let values) = element, values.count == names.count else {
                    throw failure("a loop over \(names.count) variables meets something else")
                }
                for (name, value) in zip(names, values) { scope[name] = value }
            }
            if let filter {
                scopes.append(scope)
                defer { scopes.removeLast() }
                guard try evaluate(filter).isTrue else { continue }
            }
            turns.append(scope)
        }
        if turns.isEmpty {
            _ = try run(otherwise)
            return
        }
        for (index, turn) in turns.enumerated() {
            var scope = turn
            scope["loop"] = .dictionary([
                ("index", .integer(index + 1)), ("index0", .integer(index)), ("first", .bool(index == 0)),
                ("last", .bool(index == turns.count - 1)), ("length", .integer(turns.count)),
                ("revindex", .integer(turns.count - index)), ("revindex0", .integer(turns.count - index - 1)),
                ("previtem", index > 0 ? turns[index - 1][names[0]]! : .undefined("loop.previtem")),
                ("nextitem", index + 1 < turns.count ? turns[index + 1][names[0]]! : .undefined("loop.nextitem")),
            ])
            scopes.append(scope)
            defer { scopes.removeLast() }
            if try run(body) == .leaveLoop { return }
        }
    }

    private func lookUp(_ name: String) -> JinjaValue {
        for scope in scopes.reversed() { if let value = scope[name] { return value } }
        return .undefined(name)
    }

    // MARK: Expressions

    private mutating func evaluate(_ expression: JinjaExpression) throws(TokenizationError) -> JinjaValue {
        let value = try computed(expression)
        work += value.size
        if work > Self.workLimit { throw failure("it takes too many steps") }
        return value
    }

    private mutating func computed(_ expression: JinjaExpression) throws(TokenizationError) -> JinjaValue {
        switch expression {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let elements):
            var values: [JinjaValue] = []
            for element in elements { values.append(try evaluate(element)) }
            return .list(values)
        case .dictionary(let members):
            var values: [(key: String, value: JinjaValue)] = []
            for member in members {
                let key = try text(evaluate(member.key), "a key").string
                values.removeAll { $0.key == key }
                values.append((key, try evaluate(member.value)))
            }
            return .dictionary(values)
        case .attribute(let value, let name):
            return try member(name, of: evaluate(value))
        case .element(let value, let index):
            let container = try evaluate(value)
            switch try evaluate(index) {
            case .text(let key): return try member(key.string, of: container)
            case .integer(let index): return try element(index, of: container)
            default: throw failure("an index is neither a number nor a text")
            }
        case .slice(let value, let start, let stop, let step):
            let bounds = (try bound(start), try bound(stop), try bound(step))
            return try slice(evaluate(value), bounds.0, bounds.1, step: bounds.2 ?? 1)
        case .call(let function, let arguments):
            return try call(function, arguments)
        case .filter(let value, let name, let arguments):
            return try filter(evaluate(value), name, try evaluated(arguments))
        case .test(let value, let name, let arguments):
            return .bool(try JinjaLibrary.test(evaluate(value), name, try evaluated(arguments).positional))
        case .not(let value): return .bool(!(try evaluate(value).isTrue))
        case .negative(let value):
            guard case .integer(let number) = try evaluate(value), number != .min else {
                throw failure("a minus stands before what is no number")
            }
            return .integer(-number)
        case .binary("and", let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? try evaluate(right) : value
        case .binary("or", let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? value : try evaluate(right)
        case .binary("~", let left, let right):
            return .text(try joined(printed(evaluate(left)), printed(evaluate(right))))
        case .binary(let operation, let left, let right):
            return try combine(operation, evaluate(left), evaluate(right))
        case .comparison(let first, let chain):
            var left = try evaluate(first)
            for link in chain {
                let right = try evaluate(link.right)
                guard try JinjaLibrary.compare(link.operation, left, right) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .conditional(let value, let condition, let otherwise):
            if try evaluate(condition).isTrue { return try evaluate(value) }
            return try otherwise.map { (other) throws(TokenizationError) in try evaluate(other) } ?? .undefined("")
        }
    }

    /// Arguments after evaluation.
    struct Arguments {
        var positional: [JinjaValue] = []
        var named: [String: JinjaValue] = [:]
    }

    private mutating func evaluated(_ arguments: JinjaArguments) throws(TokenizationError) -> Arguments {
        var values = Arguments()
        for value in arguments.positional { values.positional.append(try evaluate(value)) }
        for (name, value) in arguments.named { values.named[name] = try evaluate(value) }
        return values
    }

    private mutating func bound(_ expression: JinjaExpression?) throws(TokenizationError) -> Int? {
        guard let expression else { return nil }
        switch try evaluate(expression) {
        case .integer(let value): return value
        case .none: return nil
        default: throw failure("a bound of a slice is no number")
        }
    }

    private func combine(
        _ operation: String, _ left: JinjaValue, _ right: JinjaValue
    ) throws(TokenizationError) -> JinjaValue {
        switch (operation, left, right) {
        case ("+", .text(let left), .text(let right)): return .text(try joined(left, right))
        case ("+", .list(let left), .list(let right)): return .list(left + right)
        case (_, .integer(let left), .integer(let right)):
            if let value = JinjaLibrary.arithmetic(operation, left, right) { return .integer(value) }
            throw failure("'\(operation)' of \(left) and \(right) cannot be worked out")
        default:
            throw failure("'\(operation)' of \(JinjaLibrary.kind(left)) and \(JinjaLibrary.kind(right))")
        }
    }

    private func joined(_ left: JinjaText, _ right: JinjaText) throws(TokenizationError) -> JinjaText {
        var text = left
        text.append(right)
        if text.byteCount > Self.textLimit { throw failure("it makes too long a text") }
        return text
    }

    /// The text that a value is written as.
    private func printed(_ value: JinjaValue) throws(TokenizationError) -> JinjaText {
        switch value {
        case .undefined: return JinjaText("")
        case .none: return JinjaText("None")
        case .bool(let value): return JinjaText(value ? "True" : "False")
        case .integer(let value): return JinjaText("\(value)")
        case .text(let text): return text
        default: throw failure("it writes \(JinjaLibrary.kind(value))")
        }
    }

    private func text(_ value: JinjaValue, _ what: String) throws(TokenizationError) -> JinjaText {
        guard case .text(let text) = value else { throw failure("\(what) is \(JinjaLibrary.kind(value)), not a text") }
        return text
    }

    private func elements(of value: JinjaValue) throws(TokenizationError) -> [JinjaValue] {
        switch value {
        case .list(let values): return values
        case .dictionary(let members): return members.map { .plain($0.key) }
        case .undefined: return []
        default: throw failure("a loop goes over \(JinjaLibrary.kind(value))")
        }
    }

    private func member(_ name: String, of value: JinjaValue) throws(TokenizationError) -> JinjaValue {
        switch value {
        case .dictionary(let members): return members.first { $0.key == name }?.value ?? .undefined(name)
        case .namespace(let number): return namespaces[number][name] ?? .undefined(name)
        case .undefined(let unknown): throw failure("'\(unknown)' is undefined, and '\(name)' of it is asked for")
        default: return .undefined(name)
        }
    }

    private func element(_ index: Int, of value: JinjaValue) throws(TokenizationError) -> JinjaValue {
        switch value {
        case .list(let values):
            let place = index < 0 ? index + values.count : index
            return values.indices.contains(place) ? values[place] : .undefined("[\(index)]")
        case .text:
            guard index != .max, index != -1 else { return try slice(value, index, nil, step: 1) }
            return try slice(value, index, index + 1, step: 1)
        case .undefined(let unknown): throw failure("'\(unknown)' is undefined, and an element of it is asked for")
        default: return .undefined("[\(index)]")
        }
    }

    private func slice(
        _ value: JinjaValue, _ start: Int?, _ stop: Int?, step: Int
    ) throws(TokenizationError) -> JinjaValue {
        switch value {
        case .list(let values):
            return .list(try JinjaLibrary.slice(values, start, stop, step: step))
        case .text(let text):
            let mark = try JinjaLibrary.singleMark(text)
            var part = ""
            part.unicodeScalars.append(
                contentsOf: try JinjaLibrary.slice(Array(text.string.unicodeScalars), start, stop, step: step))
            return .text(JinjaText(part, mark: mark))
        default: throw failure("a slice of \(JinjaLibrary.kind(value)) is asked for")
        }
    }

    // MARK: Functions

    private mutating func call(
        _ function: JinjaExpression, _ arguments: JinjaArguments
    ) throws(TokenizationError) -> JinjaValue {
        let values = try evaluated(arguments)
        if case .attribute(let object, let method) = function {
            let receiver = try evaluate(object)
            // A namespace or a dictionary may hold a macro; texts, lists and dictionaries have methods.
            if case .macro(let macro) = try member(method, of: receiver) { return try call(macro, values) }
            return try JinjaLibrary.method(method, of: receiver, values.positional)
        }
        switch try evaluate(function) {
        case .macro(let macro): return try call(macro, values)
        case .function("raise_exception"):
            let reason = try values.positional.first.map { (value) throws(TokenizationError) in
                try printed(value).string
            }
            throw .conversationRefused(reason: reason ?? "")
        case .function("namespace"):
            namespaces.append(values.named)
            return .namespace(namespaces.count - 1)
        case .function("range"):
            let range = try JinjaLibrary.range(values.positional)
            steps += range.count
            return .list(range.map { .integer($0) })
        case .undefined(let name): throw failure("it calls '\(name)'")
        default: throw failure("it calls what is no function")
        }
    }

    private mutating func call(_ macro: JinjaMacro, _ values: Arguments) throws(TokenizationError) -> JinjaValue {
        guard macroDepth < Self.macroDepthLimit else { throw failure("its macros call one another too deeply") }
        guard values.positional.count <= macro.parameters.count else {
            throw failure("the macro '\(macro.name)' gets too many arguments")
        }
        var scope: [String: JinjaValue] = [:]
        for (index, parameter) in macro.parameters.enumerated() {
            if index < values.positional.count {
                scope[parameter.name] = values.positional[index]
            } else if let value = values.named[parameter.name] {
                scope[parameter.name] = value
            } else {
                scope[parameter.name] =
                    try parameter.standard.map { (standard) throws(TokenizationError) in
                        try evaluate(standard)
                    } ?? .undefined(parameter.name)
            }
        }
        // A macro sees the template's own variables, not its caller's.
        let outer = scopes
        scopes = [scopes[0], scope]
        macroDepth += 1
        defer {
            scopes = outer
            macroDepth -= 1
        }
        return .text(try captured(macro.body))
    }

    private func filter(
        _ value: JinjaValue, _ name: String, _ arguments: Arguments
    ) throws(TokenizationError) -> JinjaValue {
        switch name {
        case "default", "d":
            let takesFalse = (arguments.positional.dropFirst().first ?? arguments.named["boolean"])?.isTrue ?? false
            let standard = arguments.positional.first ?? arguments.named["default_value"] ?? .plain("")
            if case .undefined = value { return standard }
            return takesFalse && !value.isTrue ? standard : value
        case "string":
            return .text(try printed(value))
        case "join":
            let separator = try arguments.positional.first.map { (separator) throws(TokenizationError) in
                try printed(separator)
            }
            var text = JinjaText("")
            for (index, element) in try elements(of: value).enumerated() {
                if index > 0, let separator { text = try joined(text, separator) }
                text = try joined(text, printed(element))
            }
            return .text(text)
        default:
            return try JinjaLibrary.filter(value, name, arguments.positional)
        }
    }
}

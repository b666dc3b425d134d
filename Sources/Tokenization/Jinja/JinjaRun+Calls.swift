extension JinjaRun {
    /// The functions that a template is given.
    static let globals = [
        "range", "dict", "lipsum", "cycler", "joiner", "namespace", "raise_exception", "strftime_now",
    ]

    /// `value(arguments)`
    func call(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        try spend(1)
        switch value {
        case .undefined(let problem): throw .failed(problem)
        case .macro(let macro): return try self.call(macro, call)
        case .loop(let loop):
            let iterable = try bind(call, ["iterable"], required: 1, of: "loop")[0]
            return try recurse(loop, over: iterable ?? .none)
        case .block(let name): return try callBlock(name)
        case .joiner(let joiner):
            _ = try bind(call, [], of: "joiner")
            if joiner.isUsed { return joiner.separator }
            joiner.isUsed = true
            return .plain("")
        case .function(let function):
            try enter()
            defer { leave() }
            if let receiver = function.receiver { return try method(function.name, of: receiver, call) }
            return try callGlobal(function.name, call)
        default: throw .failed("it calls \(value.kind)")
        }
    }

    private func callGlobal(_ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch name {
        case "range": return try makeRange(call)
        case "dict": return try dictionary(members(of: call, name))
        case "namespace":
            let members = try members(of: call, name)
            for member in members { if let key = member.key.asText { try check(member: key.string) } }
            return makeNamespace(members)
        case "cycler":
            guard call.named.isEmpty, !call.positional.isEmpty else { throw .failed("a cycler has no values") }
            return .cycler(JinjaCycler(try makeList(call.positional)))
        case "joiner": return .joiner(try JinjaJoiner(bind(call, ["sep"], of: name)[0] ?? .plain(", ")))
        case "raise_exception":
            let message = try bind(call, ["message"], required: 1, of: name)[0]
            throw .refused(try string(of: message ?? .none).string)
        case "strftime_now":
            guard case .text(let format) = try bind(call, ["format"], required: 1, of: name)[0], let clock else {
                throw .failed("'strftime_now' gets no text")
            }
            return .plain(clock.formatted(format.string))
        default: throw .failed("'\(name)' gives something else each time, which is refused")
        }
    }

    private func makeRange(_ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let limit = 100_000
        var numbers: [Int] = []
        for value in call.positional {
            if case .undefined(let problem) = value { throw .failed(problem) }
            guard let number = value.asInteger else { throw .failed("'range' is called with \(value.kind)") }
            numbers.append(number)
        }
        guard call.named.isEmpty, (1...3).contains(numbers.count) else {
            throw .failed("'range' is called with other than one to three numbers")
        }
        let (start, stop) = numbers.count == 1 ? (0, numbers[0]) : (numbers[0], numbers[1])
        let step = numbers.count == 3 ? numbers[2] : 1
        if step == 0 { throw .failed("'range' is called with a step of 0") }
        let (span, overflow) = stop.subtractingReportingOverflow(start)
        let count = (span < 0) != (step < 0) || span == 0 ? 0 : (span.magnitude - 1) / step.magnitude + 1
        if overflow ? (start < stop) == (step > 0) : count > limit {
            throw .failed("'range' is called with too large a number")
        }
        return .range(JinjaRange(start: start, stop: stop, step: step, count: overflow ? 0 : Int(count)))
    }

    /// The members that Python's `dict` makes of its arguments.
    private func members(
        of call: JinjaCall, _ name: String
    ) throws(JinjaError) -> [(key: JinjaValue, value: JinjaValue)] {
        var members: [(key: JinjaValue, value: JinjaValue)] = []
        guard call.positional.count <= 1 else { throw .failed("'\(name)' gets more than one value") }
        if let value = call.positional.first {
            if case .dictionary(let dictionary) = value {
                members = dictionary.members
            } else {
                let iterator = try iterate(value)
                while let pair = try iterator.next() {
                    let pair = try elements(of: pair)
                    guard pair.count == 2 else { throw .failed("'\(name)' gets what is no pair") }
                    members.append((pair[0], pair[1]))
                }
            }
        }
        return members + call.named.map { (.plain($0.name), $0.value) }
    }

    // MARK: What the template defines

    private func call(_ macro: JinjaMacro, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        try enter()
        defer { leave() }
        let syntax = macro.syntax
        let inner = try makeScope(in: macro.scope)
        var named = call.named
        func takeNamed(_ name: String) -> JinjaValue? {
            named.firstIndex { $0.name == name }.map { named.remove(at: $0).value }
        }
        for (index, parameter) in syntax.parameters.enumerated() {
            if index < call.positional.count {
                inner.set(parameter.name, call.positional[index])
            } else if let value = takeNamed(parameter.name) {
                inner.set(parameter.name, value)
            } else if let standard = parameter.standard {
                inner.set(parameter.name, try evaluate(standard, inner))
            } else {
                inner.set(parameter.name, .undefined("parameter '\(parameter.name)' was not provided"))
            }
        }
        if syntax.uses.contains("caller") {
            inner.set("caller", takeNamed("caller") ?? .undefined("No caller defined"))
        }
        if syntax.uses.contains("kwargs") {
            inner.set("kwargs", try dictionary(named.map { (.plain($0.name), $0.value) }))
        } else if let argument = named.first {
            throw .failed("the macro '\(syntax.name ?? "caller")' has no parameter '\(argument.name)'")
        }
        let more = call.positional.dropFirst(syntax.parameters.count)
        if syntax.uses.contains("varargs") {
            inner.set("varargs", try tuple(Array(more)))
        } else if !more.isEmpty {
            throw .failed("the macro '\(syntax.name ?? "caller")' gets too many arguments")
        }
        return .text(try captured(of: macro) { () throws(JinjaError) in try run(syntax.body, in: inner) })
    }

    /// The text of a macro's body, which escapes as where the macro stands, and is markup as where it is called.
    private func captured(of macro: JinjaMacro, _ body: () throws(JinjaError) -> Exit) throws(JinjaError) -> JinjaText {
        let outer = escapes
        escapes = macro.escapes
        defer { escapes = outer }
        var text = try captured(body).text
        text.isMarkup = outer
        return text
    }

    private func recurse(_ loop: JinjaLoop, over iterable: JinjaValue) throws(JinjaError) -> JinjaValue {
        guard let (syntax, scope) = loop.recursion else {
            throw .failed("a loop is called that is not marked as recursive")
        }
        try enter()
        defer { leave() }
        return .text(
            try captured { () throws(JinjaError) in
                try runLoop(syntax, over: iterable, scope, depth0: loop.depth0 + 1)
                return .end
            }.text)
    }

    private func callBlock(_ name: String) throws(JinjaError) -> JinjaValue {
        guard let block = blocks[name] else { throw .failed("it has no block '\(name)'") }
        try enter()
        defer { leave() }
        return .text(try captured { () throws(JinjaError) in try run(block.body, in: makeScope(in: scope)) }.text)
    }

    // MARK: Arguments

    /// The arguments by their parameters, nil for each that is not given. A parameter whose name begins with `_` has
    /// none for the caller.
    func bind(
        _ call: JinjaCall, _ parameters: [String], required: Int = 0, of name: String
    ) throws(JinjaError) -> [JinjaValue?] {
        guard call.positional.count <= parameters.count else { throw .failed("'\(name)' gets too many arguments") }
        var values: [JinjaValue?] = call.positional
        values += Array(repeating: nil, count: parameters.count - call.positional.count)
        for argument in call.named {
            guard let place = parameters.firstIndex(of: argument.name), !argument.name.hasPrefix("_") else {
                throw .failed("'\(name)' has no argument '\(argument.name)'")
            }
            guard values[place] == nil else { throw .failed("'\(name)' gets the argument '\(argument.name)' twice") }
            values[place] = argument.value
        }
        guard !values.prefix(required).contains(where: { $0 == nil }) else {
            throw .failed("'\(name)' gets too few arguments")
        }
        return values
    }

    /// An argument that is to be an integer; nil where it is not given.
    func integer(_ value: JinjaValue?, of name: String) throws(JinjaError) -> Int? {
        guard let value else { return nil }
        if case .undefined(let problem) = value { throw .failed(problem) }
        guard let number = value.asInteger else { throw .failed("'\(name)' gets \(value.kind), not an integer") }
        return number
    }

    /// An argument that is to be a text; nil where it is not given.
    func text(_ value: JinjaValue?, of name: String) throws(JinjaError) -> JinjaText? {
        guard let value else { return nil }
        guard let text = value.asText else { throw .failed("'\(name)' gets \(value.kind), not a text") }
        return text
    }
}

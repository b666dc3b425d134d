/// The filters that a template may use.
enum JinjaFilter {
    static let names: Set<String> = [
        "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape",
        "filesizeformat", "first", "float", "forceescape", "format", "groupby", "indent", "int", "items", "join",
        "last", "length", "list", "lower", "map", "max", "min", "pprint", "random", "reject", "rejectattr", "replace",
        "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title",
        "tojson", "trim", "truncate", "unique", "upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr",
    ]
}

extension JinjaRun {
    /// `value | name(arguments)`
    func filter(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch name {
        case "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower", "pprint",
            "replace", "safe", "string", "striptags", "title", "tojson", "trim", "truncate", "upper", "urlencode",
            "urlize", "wordcount", "wordwrap", "xmlattr":
            return try textFilter(name, value, call)
        case "abs", "filesizeformat", "float", "int", "round", "sum": return try numberFilter(name, value, call)
        case "map", "reject", "rejectattr", "select", "selectattr": return try choosingFilter(name, value, call)
        case "dictsort", "groupby", "max", "min", "sort", "unique": return try orderingFilter(name, value, call)
        case "batch", "slice": return try groupingFilter(name, value, call)
        case "random": throw .failed("the filter 'random' gives something else each time, which is refused")
        default: return try plainFilter(name, value, call)
        }
    }

    private func plainFilter(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch name {
        case "default", "d":
            let values = try bind(call, ["default_value", "boolean"], of: name)
            let replacesFalse = values[1]?.isTrue ?? false
            return value.isUndefined || replacesFalse && !value.isTrue ? values[0] ?? .plain("") : value
        case "attr":
            let attribute = try text(bind(call, ["name"], required: 1, of: name)[0], of: name)?.string ?? ""
            if case .undefined(let problem) = value { throw .failed(problem) }
            return try ownAttribute(attribute, of: value) ?? .undefined("\(value.kind) has no attribute '\(attribute)'")
        default: break
        }
        _ = try bind(call, [], of: name)
        switch name {
        case "length", "count":
            guard let length = try length(of: value) else { throw .failed("\(value.kind) has no length") }
            return .integer(length)
        case "first": return try iterate(value).next() ?? .undefined("no first item, the sequence was empty")
        case "last": return try lastElement(of: value)
        case "list": return try list(elements(of: value))
        case "items":
            if value.isUndefined { return .iterator(JinjaIterator([], depth: 0)) }
            guard case .dictionary(let dictionary) = value else { throw .failed("\(value.kind) has no items") }
            return .iterator(try iterate(.view(JinjaView(dictionary, .items))))
        case "reverse": return try reversed(value)
        default: throw .failed("it has the filter '\(name)'")
        }
    }

    private func lastElement(of value: JinjaValue) throws(JinjaError) -> JinjaValue {
        switch value {
        case .iterator, .loop: throw .failed("\(value.kind) has no last element")
        default: return try elements(of: value).last ?? .undefined("no last item, the sequence was empty")
        }
    }

    private func reversed(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        switch value {
        case .text(let text): return try slice(.text(text), nil, nil, step: -1)
        case .iterator, .undefined, .loop: return try list(elements(of: value).reversed())
        default: return .iterator(JinjaIterator(try elements(of: value).reversed(), depth: value.depth))
        }
    }

    // MARK: Filters that choose

    private func choosingFilter(
        _ name: String, _ value: JinjaValue, _ call: JinjaCall
    ) throws(JinjaError) -> JinjaValue {
        // Nothing of it happens before an element is asked for.
        var source: JinjaIterator?
        var function: ((JinjaValue) throws(JinjaError) -> JinjaValue)?
        return try makeIterator(over: value) { [self] () throws(JinjaError) in
            if source == nil {
                guard value.isTrue else { return nil }
                function = name == "map" ? try mapping(call) : try choosing(name, call)
                source = try iterate(value)
            }
            while let element = try source?.next(), let function {
                try spend(1)
                let result = try function(element)
                if name == "map" { return result }
                if result.isTrue != name.hasPrefix("reject") { return element }
            }
            return nil
        }
    }

    private func mapping(_ call: JinjaCall) throws(JinjaError) -> (JinjaValue) throws(JinjaError) -> JinjaValue {
        if call.positional.isEmpty, call.named.contains(where: { $0.name == "attribute" }) {
            let values = try bind(call, ["attribute", "default"], of: "map")
            return try attributeGetter(values[0], standard: JinjaValue.given(values[1]))
        }
        guard let name = call.positional.first?.asText?.string else { throw .failed("'map' names no filter") }
        guard JinjaFilter.names.contains(name) else { throw .failed("it has the filter '\(name)'") }
        let rest = JinjaCall(positional: Array(call.positional.dropFirst()), named: call.named)
        return { [self] (element) throws(JinjaError) in
            try enter()
            defer { leave() }
            return try filter(name, element, rest)
        }
    }

    private func choosing(
        _ name: String, _ call: JinjaCall
    ) throws(JinjaError) -> (JinjaValue) throws(JinjaError) -> JinjaValue {
        var positional = call.positional[...]
        var getter: ((JinjaValue) throws(JinjaError) -> JinjaValue)?
        if name.hasSuffix("attr") {
            guard let attribute = positional.popFirst() else { throw .failed("'\(name)' names no attribute") }
            getter = try attributeGetter(attribute)
        }
        guard let test = positional.popFirst() else {
            return { (element) throws(JinjaError) in .bool(try getter?(element).isTrue ?? element.isTrue) }
        }
        guard let test = test.asText?.string, JinjaTest.names.contains(test) else {
            throw .failed("'\(name)' names no test")
        }
        let rest = JinjaCall(positional: Array(positional), named: call.named)
        return { [self] (element) throws(JinjaError) in
            try self.test(test, getter.map { (getter) throws(JinjaError) in try getter(element) } ?? element, rest)
        }
    }

    /// What takes an attribute, or one of an attribute's with dots between, out of a value.
    func attributeGetter(
        _ attribute: JinjaValue?, standard: JinjaValue? = nil
    ) throws(JinjaError) -> (JinjaValue) throws(JinjaError) -> JinjaValue {
        let parts = attributeParts(attribute)
        return { [self] (value) throws(JinjaError) in
            var value = value
            for part in parts {
                try spend(1)
                value = try element(part, of: value)
                if let standard, value.isUndefined { value = standard }
            }
            return value
        }
    }

    private func attributeParts(_ attribute: JinjaValue?) -> [JinjaValue] {
        guard let attribute, !attribute.isNone else { return [] }
        guard case .text(let text) = attribute else { return [attribute] }
        return JinjaRun.parts(of: text, at: ["."], limit: .max).map { part in
            let isNumber = JinjaLetters.holds(part, "isdigit")
            return isNumber ? Int(part.string).map { .integer($0) } ?? .text(part) : .text(part)
        }
    }

    // MARK: Groups

    private func groupingFilter(
        _ name: String, _ value: JinjaValue, _ call: JinjaCall
    ) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, [name == "slice" ? "slices" : "linecount", "fill_with"], required: 1, of: name)
        let elements = try elements(of: value)
        let fill = JinjaValue.given(values[1])
        guard let count = try integer(values[0], of: name) else { throw .failed("'\(name)' gets no number") }
        var groups: [JinjaValue] = []
        if name == "batch" {
            var start = 0
            // No group is ever full that is to have fewer than one element; jinja's first group is empty then.
            if count <= 0 { return .iterator(try wrongBatches(elements, count)) }
            while start < elements.count {
                var group = Array(elements[start..<min(elements.count, start + min(count, elements.count))])
                start += group.count
                if let fill, group.count < count {
                    try spend(count - group.count)
                    group += Array(repeating: fill, count: count - group.count)
                }
                groups.append(try list(group))
            }
        } else {
            if count == 0 { throw .failed("'slice' makes 0 slices") }
            var start = 0
            for number in 0..<max(0, count) {
                let isLonger = number < elements.count % count
                let end = start + elements.count / count + (isLonger ? 1 : 0)
                var group = Array(elements[start..<end])
                if let fill, !isLonger { group.append(fill) }
                groups.append(try list(group))
                try spend(1)
                start = end
            }
        }
        return .iterator(JinjaIterator(groups, depth: try JinjaList.depth(of: groups)))
    }

    /// Jinja's `batch` with a count that no group has: an empty group and one of each element for 0, all in one for
    /// less.
    private func wrongBatches(_ elements: [JinjaValue], _ count: Int) throws(JinjaError) -> JinjaIterator {
        var groups: [JinjaValue] = []
        if count == 0, !elements.isEmpty { groups.append(try list([])) }
        if !elements.isEmpty { groups.append(try list(elements)) }
        return JinjaIterator(groups, depth: try JinjaList.depth(of: groups))
    }
}

extension JinjaValue {
    /// An optional argument, for which `none` counts as not given.
    static func given(_ value: JinjaValue?) -> JinjaValue? { value?.isNone ?? true ? nil : value }
}

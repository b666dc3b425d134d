/// Reads the statements of a Jinja template; what it does not know is an error that names it.
struct JinjaParser {
    /// Levels of nesting allowed, of brackets and of blocks.
    static let depthLimit = 60

    private let parts: [JinjaPart]
    private var place = 0
    var words: [JinjaWord] = []
    var position = 0
    var depth = 0
    /// Loops that a `break` would leave.
    private var loops = 0
    /// Whether an unknown filter or test may stand there, as it may not be met: Jinja looks them up early elsewhere.
    var isConditional = false
    /// Unknown filters and tests, as a problem's words.
    var unknown: [String] = []
    /// Which of the special names of macros each macro around uses.
    var macroNames: [Set<String>] = []
    private(set) var blocks: [String: JinjaBlockSyntax] = [:]

    /// The statements of `template`, and its blocks by name.
    static func parse(
        _ template: String
    ) throws(JinjaError) -> (statements: [JinjaStatement], blocks: [String: JinjaBlockSyntax]) {
        var parser = JinjaParser(parts: try JinjaLexer.parts(of: template))
        let statements = try parser.parseBody(until: []).body
        if let problem = parser.unknown.first { throw .failed(problem) }
        return (statements, parser.blocks)
    }

    private init(parts: [JinjaPart]) {
        self.parts = parts
    }

    /// The statements up to a block that begins with one of `ends`, and that word; an empty list goes to the end of the
    /// template. The words of the ending block are left for the caller.
    private mutating func parseBody(
        until ends: [String]
    ) throws(JinjaError) -> (body: [JinjaStatement], end: String) {
        if !ends.isEmpty {
            // A colon may stand there, as in Python.
            _ = take(":")
            try expectEnd()
        }
        depth += 1
        defer { depth -= 1 }
        if depth > Self.depthLimit { throw .failed("it is nested too deeply") }
        var body: [JinjaStatement] = []
        while place < parts.count {
            let part = parts[place]
            place += 1
            switch part {
            case .text(let text):
                body.append(.text(text))
            case .output(let inside):
                (words, position) = (inside, 0)
                body.append(.output([try parseTuple()]))
                try expectEnd()
            case .block(let inside):
                (words, position) = (inside, 0)
                let keyword = try parseName("a statement")
                if ends.contains(keyword) { return (body, keyword) }
                body.append(try parseStatement(keyword))
                try expectEnd()
            }
        }
        if let end = ends.last { throw .failed("'\(end)' is missing") }
        return (body, "")
    }

    /// A body that variables of its own belong to.
    private mutating func parseInnerBody(until ends: [String]) throws(JinjaError) -> (
        body: [JinjaStatement], end: String
    ) {
        let outer = isConditional
        isConditional = false
        defer { isConditional = outer }
        return try parseBody(until: ends)
    }

    /// A body that is a function of its own, which no loop around it can be left from.
    private mutating func parseFunctionBody(until end: String) throws(JinjaError) -> [JinjaStatement] {
        let outer = loops
        loops = 0
        defer { loops = outer }
        return try parseInnerBody(until: [end]).body
    }

    private mutating func parseStatement(_ keyword: String) throws(JinjaError) -> JinjaStatement {
        switch keyword {
        case "if": return try parseCondition()
        case "for": return try parseLoop()
        case "set": return try parseSet()
        case "macro": return try parseMacro()
        case "call": return try parseCallBlock()
        case "filter":
            let filter = try parseFilterChain(of: .caught, first: true)
            return .filterBlock(filter, try parseInnerBody(until: ["endfilter"]).body)
        case "with": return try parseWith()
        case "autoescape":
            let isOn = try parseExpression()
            return .autoescape(isOn, try parseInnerBody(until: ["endautoescape"]).body)
        case "block": return try parseBlock()
        case "print": return .output(try parsePrint())
        case "generation": return .generation(try parseFunctionBody(until: "endgeneration"))
        case "break", "continue":
            if loops == 0 { throw .failed("'\(keyword)' stands outside of a loop") }
            return keyword == "break" ? .leaveLoop : .nextTurn
        case "include", "import", "extends", "from":
            position = words.count
            return .otherTemplate(keyword)
        default:
            throw .failed("it has the statement '\(keyword)'")
        }
    }

    private mutating func parsePrint() throws(JinjaError) -> [JinjaExpression] {
        var values: [JinjaExpression] = []
        while current != nil {
            if !values.isEmpty { try expect(",") }
            values.append(try parseExpression())
        }
        return values
    }

    private mutating func parseCondition() throws(JinjaError) -> JinjaStatement {
        var branches: [(condition: JinjaExpression, body: [JinjaStatement])] = []
        var otherwise: [JinjaStatement] = []
        let outer = isConditional
        isConditional = true
        defer { isConditional = outer }
        while true {
            let condition = try parseTuple(allowsCondition: false)
            let (body, end) = try parseBody(until: ["elif", "else", "endif"])
            branches.append((condition, body))
            if end == "elif" { continue }
            if end == "else" { otherwise = try parseBody(until: ["endif"]).body }
            return .condition(branches, otherwise: otherwise)
        }
    }

    private mutating func parseLoop() throws(JinjaError) -> JinjaStatement {
        let target = try parseTarget(endingWith: ["in"], allowsMembers: false)
        if Self.names(of: target).contains("loop") { throw .failed("a loop has the variable 'loop'") }
        guard takeName("in") else { throw .failed("'in' is missing in a loop") }
        let source = try parseTuple(allowsCondition: false, endingWith: ["recursive"])
        let test = takeName("if") ? try parseExpression() : nil
        let isRecursive = takeName("recursive")
        loops += 1
        let (body, end) = try parseInnerBody(until: ["else", "endfor"])
        loops -= 1
        let otherwise = end == "else" ? try parseInnerBody(until: ["endfor"]).body : []
        return .loop(
            JinjaForLoop(
                target: target, source: source, test: test, isRecursive: isRecursive, body: body, otherwise: otherwise))
    }

    private mutating func parseSet() throws(JinjaError) -> JinjaStatement {
        let target = try parseTarget(endingWith: [], allowsMembers: true)
        if take("=") { return .set(target, try parseTuple()) }
        let filter = current == .symbol("|") ? try parseFilterChain(of: .caught) : nil
        return .setBlock(target, filter: filter, body: try parseInnerBody(until: ["endset"]).body)
    }

    private mutating func parseWith() throws(JinjaError) -> JinjaStatement {
        var values: [(target: JinjaTarget, value: JinjaExpression)] = []
        while current != nil, current != .symbol(":") {
            if !values.isEmpty { try expect(",") }
            let target = try parseTarget(endingWith: [], allowsMembers: false)
            try expect("=")
            values.append((target, try parseExpression()))
        }
        return .with(values, try parseInnerBody(until: ["endwith"]).body)
    }

    private mutating func parseBlock() throws(JinjaError) -> JinjaStatement {
        let name = try parseName("a block's name")
        let isScoped = takeName("scoped")
        let isRequired = takeName("required")
        let body = try parseFunctionBody(until: "endblock")
        _ = takeName(name)
        let block = JinjaBlockSyntax(name: name, isScoped: isScoped, isRequired: isRequired, body: body)
        guard blocks.updateValue(block, forKey: name) == nil else { throw .failed("it has two blocks '\(name)'") }
        return .block(block)
    }

    private mutating func parseMacro() throws(JinjaError) -> JinjaStatement {
        let name = try parseName("a macro's name")
        return .macro(try parseMacroBody(name: name, parameters: try parseParameters(), end: "endmacro"))
    }

    private mutating func parseCallBlock() throws(JinjaError) -> JinjaStatement {
        let parameters = current == .symbol("(") ? try parseParameters() : []
        let call = try parseExpression()
        guard case .call = call else { throw .failed("the statement 'call' calls nothing") }
        return .callBlock(call, try parseMacroBody(name: nil, parameters: parameters, end: "endcall"))
    }

    private mutating func parseMacroBody(
        name: String?, parameters: [(name: String, standard: JinjaExpression?)], end: String
    ) throws(JinjaError) -> JinjaMacroSyntax {
        macroNames.append([])
        let body = try parseFunctionBody(until: end)
        let uses = macroNames.removeLast()
        if !macroNames.isEmpty { macroNames[macroNames.count - 1].formUnion(uses) }
        let names = parameters.map(\.name)
        if uses.contains("caller"), parameters.contains(where: { $0.name == "caller" && $0.standard == nil }) {
            throw .failed("the parameter 'caller' of a macro needs a default")
        }
        return JinjaMacroSyntax(name: name, parameters: parameters, body: body, uses: uses.subtracting(names))
    }

    private mutating func parseParameters() throws(JinjaError) -> [(name: String, standard: JinjaExpression?)] {
        try expect("(")
        var parameters: [(name: String, standard: JinjaExpression?)] = []
        while !take(")") {
            if !parameters.isEmpty { try expect(",") }
            let name = try parseAssignableName()
            let standard = take("=") ? try parseExpression() : nil
            if standard == nil, parameters.last?.standard != nil {
                throw .failed("a parameter without a default follows one with it")
            }
            if parameters.contains(where: { $0.name == name }) { throw .failed("a macro has two parameters '\(name)'") }
            parameters.append((name, standard))
        }
        return parameters
    }
}

// MARK: - Targets

extension JinjaParser {
    private static let constants: Set<String> = ["true", "false", "none", "True", "False", "None"]

    fileprivate static func names(of target: JinjaTarget) -> [String] {
        switch target {
        case .name(let name): [name]
        case .tuple(let targets): targets.flatMap(names)
        case .member: []
        }
    }

    private mutating func parseAssignableName() throws(JinjaError) -> String {
        let name = try parseName("a variable")
        if Self.constants.contains(name) { throw .failed("'\(name)' cannot be assigned to") }
        return name
    }

    /// What a value is assigned to, perhaps several with commas.
    private mutating func parseTarget(
        endingWith ends: Set<String>, allowsMembers: Bool
    ) throws(JinjaError) -> JinjaTarget {
        depth += 1
        defer { depth -= 1 }
        if depth > Self.depthLimit { throw .failed("it is nested too deeply") }
        var targets: [JinjaTarget] = []
        var isTuple = false
        repeat {
            if !targets.isEmpty, isTargetEnd(ends) { break }
            if take("(") {
                targets.append(try parseTarget(endingWith: [], allowsMembers: allowsMembers))
                try expect(")")
            } else {
                let name = try parseAssignableName()
                let member = allowsMembers && take(".") ? try parseName("a member") : nil
                targets.append(member.map { .member(name, $0) } ?? .name(name))
            }
            if current == .symbol(",") { isTuple = true }
        } while take(",")
        return isTuple ? .tuple(targets) : targets[0]
    }

    private func isTargetEnd(_ ends: Set<String>) -> Bool {
        switch current {
        case nil, .symbol(")"), .symbol("="): true
        case .name(let name): ends.contains(name)
        default: false
        }
    }
}

// MARK: - Words

extension JinjaParser {
    var current: JinjaWord? { position < words.count ? words[position] : nil }
    var next: JinjaWord? { position + 1 < words.count ? words[position + 1] : nil }

    mutating func take(_ symbol: String) -> Bool {
        guard current == .symbol(symbol) else { return false }
        position += 1
        return true
    }

    mutating func takeName(_ name: String) -> Bool {
        guard current == .name(name) else { return false }
        position += 1
        return true
    }

    mutating func expect(_ symbol: String) throws(JinjaError) {
        guard take(symbol) else {
            throw .failed("'\(symbol)' is missing before '\(current?.shown ?? "the tag's end")'")
        }
    }

    func expectEnd() throws(JinjaError) {
        if let current { throw .failed("'\(current.shown)' was not expected in a tag") }
    }

    mutating func parseName(_ what: String) throws(JinjaError) -> String {
        guard case .name(let name) = current else {
            throw .failed("\(what) was expected, not '\(current?.shown ?? "the tag's end")'")
        }
        position += 1
        return name
    }
}

import Models
import TensorCore

/// Which modules an adapter wraps, as peft's `target_modules` (or `exclude_modules`) says it.
package enum TargetSpecification: Sendable, Equatable {
    /// Every linear module but the output head, as transformers 5 has them in memory: without experts and routers.
    case allLinear
    /// A regular expression that the whole path must match.
    case expression(String)
    /// Paths, or their last components: `q_proj` stands for every path that is `q_proj` or ends in `.q_proj`.
    case names([String])

    /// What a command-line argument means: `all-linear`; a comma list of names (letters, digits, `_`, `-`, `.`, and all that is no ASCII);
    /// anything else is a regular expression. Throws `.badSetting` for an empty name, `.badExpression`.
    package init(argument: String) throws(AdapterError) {
        if argument.lowercased() == Self.allLinearName {
            self = .allLinear
            return
        }
        guard argument.unicodeScalars.allSatisfy({ Self.isNameScalar($0) || $0 == "," || $0 == " " }) else {
            try PathExpression.check(argument)
            self = .expression(argument)
            return
        }
        let names = argument.split(separator: ",", omittingEmptySubsequences: false).map { Self.trimmed($0) }
        if names.contains("") {
            throw .badSetting(name: "targets", expected: "a list of module names", found: "'\(argument)'")
        }
        self = .names(names)
    }

    /// peft's word for `allLinear`.
    package static let allLinearName = "all-linear"

    /// The specification as text, for messages and tables.
    package var summary: String {
        switch self {
        case .allLinear: Self.allLinearName
        case .expression(let pattern): pattern
        case .names(let names): names.joined(separator: ", ")
        }
    }

    private static func isNameScalar(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_", "-", ".": true
        // What is no ASCII is no sign of an expression either.
        default: !scalar.isASCII
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var rest = text
        while rest.first == " " { rest.removeFirst() }
        while rest.last == " " { rest.removeLast() }
        return String(rest)
    }
}

/// Layers to which targets are held, as peft's `layers_to_transform` and `layers_pattern` say it.
package struct LayerChoice: Sendable {
    /// Their numbers; nil for all layers.
    package var numbers: [Int]?
    /// The components of paths behind which the first number is the layer's; empty for any component.
    package var patterns: [String] = []
}

/// The modules that a specification selects, and how many each target found.
package struct TargetMatch: Sendable {
    /// One target's share.
    package struct Row: Sendable, Equatable {
        /// The target as given.
        package let target: String
        /// Modules that it selects.
        package let moduleCount: Int
        /// The distinct weight shapes among them, in the base's order.
        package let shapes: [Shape]
    }

    /// A weight's shape [outputSize, inputSize] and how many modules have it.
    package struct Shape: Sendable, Equatable {
        /// Rows of the weight.
        package let outputSize: Int
        /// Columns of the weight.
        package let inputSize: Int
        /// Modules with this shape.
        package fileprivate(set) var count: Int
    }

    /// The selected modules in the base's order, each once.
    package let modules: [LinearModule]
    /// One row a target, for the table that a command prints. A module that two targets hit counts in both.
    package let rows: [Row]

    /// The path of most models' output head.
    package static let usualHead = "lm_head"

    /// Selects from `linearModules` by peft's rules (`check_target_module_exists` of peft 0.21).
    ///
    /// - A list entry matches exactly or as `endswith("." + entry)`; a string is a regular expression for the whole
    ///   path; `all-linear` leaves `outputHead` out.
    /// - Exclusions come first, as names or an expression.
    /// - With `layers`, a module that a list entry matched by its ending also has to lie in one of these.
    /// - `selection` (from `rank-modules`) restricts further; each of its modules must be matched.
    ///
    /// Throws `.matchesNothing` for a target that selects nothing (where peft is silent unless all of them do),
    /// `.unknownModule` for a selected module that the base does not have, `.untargetedSelection` for one that no target
    /// matches, `.badExpression`, `.badSetting`.
    package init(
        _ targets: TargetSpecification, parameters: [String] = [], excluding excluded: TargetSpecification? = nil,
        layers: LayerChoice = LayerChoice(), selection: [String]? = nil, in linearModules: [LinearModule],
        outputHead: String = usualHead
    ) throws(AdapterError) {
        let layersToTransform = layers.numbers
        let candidates = try Self.candidates(excluding: excluded, in: linearModules)
        let hits = try Self.hits(
            of: targets, layers: LayerFilter(layersToTransform, patterns: layers.patterns), candidates: candidates,
            outputHead: outputHead, parameters: parameters, all: linearModules)
        for hit in hits where hit.modules.isEmpty {
            if let layersToTransform, candidates.contains(where: { Self.name(hit.target, matches: $0.path) }) {
                throw .badSetting(
                    name: "layers", expected: "such that one of them has a '\(hit.target)'",
                    found: layersToTransform.map(String.init).joined(separator: ", "))
            }
            if let excluded, linearModules.contains(where: { Self.name(hit.target, matches: $0.path) }) {
                throw .matchesExcluded(target: hit.target, excluded: excluded.summary)
            }
            throw .matchesNothing(
                target: hit.target,
                nearest: NearestNames.find(hit.target, in: linearModules.map { $0.parameter ?? $0.path }))
        }
        if hits.isEmpty { throw .matchesNothing(target: targets.summary, nearest: []) }

        let matched = NameSet(hits.flatMap { $0.modules.map(\.path) })
        let kept: NameSet
        if let selection {
            for module in selection where !matched.contains(module) {
                let source = "module selection"
                let known = linearModules.map(\.path)
                throw NameSet(known).contains(module)
                    ? .untargetedSelection(module, source: source, targets: targets.summary)
                    : .unknownModule(module, source: source, nearest: NearestNames.find(module, in: known))
            }
            if selection.isEmpty { throw .matchesNothing(target: "an empty module selection", nearest: []) }
            kept = NameSet(selection)
        } else {
            kept = matched
        }
        modules = linearModules.filter { kept.contains($0.path) }
        rows = hits.map { hit in
            let found = hit.modules.filter { kept.contains($0.path) }
            return Row(target: hit.target, moduleCount: found.count, shapes: Self.shapes(of: found))
        }
    }

    /// The paths that the targets match, without a demand on them: as peft takes the configuration of an adapter that
    /// was trained. Throws `.badExpression`, and `.badSetting` for an exclusion that cannot be.
    package static func paths(
        matching targets: TargetSpecification, parameters: [String] = [], excluding excluded: TargetSpecification?,
        layersToTransform: [Int]?, layersPattern: [String], in linearModules: [LinearModule],
        outputHead: String = usualHead
    ) throws(AdapterError) -> [String] {
        try hits(
            of: targets, layers: LayerFilter(layersToTransform, patterns: layersPattern),
            candidates: candidates(excluding: excluded, in: linearModules), outputHead: outputHead,
            parameters: parameters, all: linearModules
        ).flatMap { $0.modules.map(\.path) }
    }

    /// Modules that an adapter has already, in the base's order; a row for each last component of a path.
    package init(having modules: [LinearModule]) {
        self.modules = modules
        var names: [String] = []
        var known = NameSet()
        for module in modules where known.insert(Self.lastComponent(module)).inserted {
            names.append(Self.lastComponent(module))
        }
        rows = names.map { name in
            let found = modules.filter { Self.lastComponent($0).hasSameBytes(as: name) }
            return Row(target: name, moduleCount: found.count, shapes: Self.shapes(of: found))
        }
    }

    private static func lastComponent(_ module: LinearModule) -> String {
        module.path.utf8.split(separator: UInt8(ascii: ".")).last.map { String(Substring($0)) } ?? ""
    }

    /// Whether a list entry of `target_modules` matches a path.
    package static func name(_ name: String, matches path: String) -> Bool {
        path.hasSameBytes(as: name) || path.endsInBytes(of: "." + name)
    }

    private static func candidates(
        excluding excluded: TargetSpecification?, in all: [LinearModule]
    ) throws(AdapterError) -> [LinearModule] {
        // Parts of packed parameters are no modules in memory.
        let modules = all.contains { $0.parameter != nil } ? all.filter { $0.parameter == nil } : all
        switch excluded {
        case nil: return modules
        case .allLinear:
            throw .badSetting(name: "excluded modules", expected: "names or an expression", found: "'all-linear'")
        case .expression(let pattern):
            let expression = try PathExpression(pattern)
            return try filter(modules) { (path) throws(AdapterError) in try !expression.matchesWhole(path) }
        case .names(let names):
            return modules.filter { module in !names.contains { name($0, matches: module.path) } }
        }
    }

    /// The modules of each target, and of each packed parameter behind them, which neither exclusions nor layers change, as
    /// in peft.
    private static func hits(
        of targets: TargetSpecification, layers: LayerFilter, candidates: [LinearModule], outputHead: String,
        parameters: [String], all: [LinearModule]
    ) throws(AdapterError) -> [(target: String, modules: [LinearModule])] {
        let own = try hits(of: targets, layers: layers, candidates: candidates, outputHead: outputHead)
        return own
            + parameters.map { entry in
                let found = all.filter { module in module.parameter.map { name(entry, matches: $0) } ?? false }
                return (target: entry, modules: found)
            }
    }

    private static func hits(
        of targets: TargetSpecification, layers: LayerFilter, candidates: [LinearModule], outputHead: String
    ) throws(AdapterError) -> [(target: String, modules: [LinearModule])] {
        switch targets {
        case .allLinear:
            return [
                (
                    TargetSpecification.allLinearName,
                    candidates.filter { !$0.path.hasSameBytes(as: outputHead) && !$0.isOfMixture }
                )
            ]
        case .expression(let pattern):
            let expression = try PathExpression(pattern)
            return [
                (
                    pattern,
                    try filter(candidates) { (path) throws(AdapterError) in try expression.matchesWhole(path) }
                )
            ]
        case .names(let names):
            let exact = NameSet(names)
            let found = modules(endingIn: exact, candidates)
            var hits: [(target: String, modules: [LinearModule])] = []
            for entry in names {
                // As in peft, the layer list does not apply to a module that is listed by its whole path.
                let modules = try filter(found[entry] ?? []) { (path) throws(AdapterError) in
                    if exact.contains(path) { return true }
                    return try layers.admits(path)
                }
                hits.append((entry, modules))
            }
            return hits
        }
    }

    /// The modules that each of `names` matches. A list may name each of many thousand modules, so that each path's
    /// endings are looked up among the names and not each name among the paths.
    private static func modules(
        endingIn names: NameSet, _ candidates: [LinearModule]
    ) -> NameTable<[LinearModule]> {
        var found: NameTable<[LinearModule]> = [:]
        for module in candidates {
            var ending = module.path[...]
            while true {
                let name = String(ending)
                if names.contains(name) { found[name, default: []].append(module) }
                guard let dot = ending.utf8.firstIndex(of: UInt8(ascii: ".")) else { break }
                ending = ending[ending.utf8.index(after: dot)...]
            }
        }
        return found
    }

    private static func filter(
        _ modules: [LinearModule], _ isWanted: (String) throws(AdapterError) -> Bool
    ) throws(AdapterError) -> [LinearModule] {
        var kept: [LinearModule] = []
        for module in modules where try isWanted(module.path) { kept.append(module) }
        return kept
    }

    private static func shapes(of modules: [LinearModule]) -> [Shape] {
        modules.reduce(into: []) { shapes, module in
            if let index = shapes.firstIndex(where: {
                $0.outputSize == module.outputSize && $0.inputSize == module.inputSize
            }) {
                shapes[index].count += 1
            } else {
                shapes.append(Shape(outputSize: module.outputSize, inputSize: module.inputSize, count: 1))
            }
        }
    }
}

/// peft's `layers_to_transform` with `layers_pattern`.
private struct LayerFilter {
    private let layers: Set<Int>?
    private let expressions: [PathExpression]

    init(_ layers: [Int]?, patterns: [String]) throws(AdapterError) {
        self.layers = layers.flatMap { $0.isEmpty ? nil : Set($0) }
        // The lazy start takes a path's first number, as peft does.
        var expressions: [PathExpression] = []
        for pattern in patterns {
            expressions.append(try PathExpression(pattern, before: #"(?:.*?\.)?(?:"#, after: #")\.(\d+)\..*"#))
        }
        if patterns.isEmpty { expressions.append(try PathExpression(#".*?\.[^.]*\.(\d+)\..*"#)) }
        self.expressions = expressions
    }

    func admits(_ path: String) throws(AdapterError) -> Bool {
        guard let layers else { return true }
        for expression in expressions {
            if let digits = try expression.lastGroup(in: path) { return Int(digits).map(layers.contains) ?? false }
        }
        return false
    }
}

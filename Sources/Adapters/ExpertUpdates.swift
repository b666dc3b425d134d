import Models
import TensorCore

/// The updates of packed parameters as those of modules of their own, one for each expert: the form in which they are
/// trained, gated, counted, ranked and pruned. In files they lie packed, as peft has them.
package struct ExpertUpdates: Sendable {
    /// The experts' modules, such as `model.layers.0.mlp.experts.3.gate_up_proj`.
    package private(set) var modules: [String] = []
    /// A [rank, inputSize] and B [outputSize, rank] of each.
    package private(set) var tensors: [AdapterTensor] = []
    /// Tau of each, where there are gates.
    package private(set) var thresholds: [(module: String, tau: Float)] = []
    /// Experts of each parameter, by its path.
    package private(set) var counts: NameTable<Int> = [:]

    /// None.
    init() {}

    /// The experts of `updates`, which are of parameters, but for those that `kept`, where it is given, leaves out.
    package init(_ updates: [MatrixUpdate], kept: NameSet? = nil) {
        for update in updates {
            guard case .parameter(let name, let count) = update.form else { continue }
            counts[update.path + "." + name] = count
            for expert in 0..<count {
                let path = ExpertPath(update.path, expert, name).path
                guard kept?.contains(path) ?? true else { continue }
                let low = update.change(ofExpert: expert)
                modules.append(path)
                tensors.append(
                    AdapterTensor(PEFTNames.key(path, PEFTNames.loraA), [update.rank, update.width], low.a))
                tensors.append(
                    AdapterTensor(PEFTNames.key(path, PEFTNames.loraB), [update.rowCount, update.rank], low.b))
                if !update.thresholds.isEmpty { thresholds.append((path, update.thresholds[expert])) }
            }
        }
    }
}

extension AdapterConfiguration {
    /// Tensors of an adapter with those of packed parameters as `ExpertUpdates` has them, by the names that files give
    /// them; the others as they are.
    package func unpackingExperts(_ tensors: [AdapterTensor]) -> [AdapterTensor] {
        guard !targetParameters.isEmpty else { return tensors }
        let named = NameTable(tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let targets = ParameterTargets(otherFields, packed: [])
        var result: [AdapterTensor] = []
        for tensor in tensors {
            guard let (path, suffix) = PEFTNames.split(tensor.name, suffixes: tensorSuffixes), targets.have(path),
                let place = try? targets.parameter(at: path, file: "")
            else {
                result.append(tensor)
                continue
            }
            let rank = narrowSize(of: place.path + "." + place.name)
            guard suffix == PEFTNames.loraA, let b = named[PEFTNames.key(path, PEFTNames.loraB)] else { continue }
            let update = MatrixUpdate(
                path: place.path, form: .parameter(name: place.name, expertCount: tensor.shape[0] / rank), a: tensor,
                b: b, magnitude: nil, rank: rank, scale: 1)
            result += ExpertUpdates([update]).tensors
        }
        return result
    }
}

/// A packed parameter whose experts an adapter has, and the key of its tensors.
package struct PackedParameter: Sendable {
    /// The module that has it, such as `model.layers.0.mlp.experts`.
    package let module: String
    /// Its name, such as `gate_up_proj`.
    package let name: String
    /// What stands in its tensors' keys for the module: peft wraps the first of a module's parameters innermost.
    package let path: String
    /// The experts' modules that the adapter has, by their numbers.
    package let experts: [Int: String]
    /// Experts of the parameter.
    package let count: Int
}

extension AdapterDirectory {
    /// The packed parameters that some of the modules are parts of, in the order of the modules.
    package var packedParameters: [PackedParameter] {
        guard !configuration.targetParameters.isEmpty else { return [] }
        var order: [String] = []
        var found: NameTable<NameTable<[Int: String]>> = [:]
        for module in modules {
            guard let place = configuration.expertPath(of: module) else { continue }
            if found[place.module] == nil { order.append(place.module) }
            found[place.module, default: [:]][place.name, default: [:]][place.expert] = module
        }
        return order.flatMap { module -> [PackedParameter] in
            let own = found[module] ?? [:]
            let names = ParameterTargets.ordered(Array(own.keys))
            return names.enumerated().map { index, name in
                let experts = own[name] ?? [:]
                let known = configuration.expertCounts[module + "." + name] ?? 0
                return PackedParameter(
                    module: module, name: name,
                    path: module + String(repeating: ParameterTargets.innerLayer, count: names.count - 1 - index),
                    experts: experts, count: max(known, (experts.keys.max() ?? 0) + 1))
            }
        }
    }

    /// A [experts rank, inputSize], whose rows run (expert, rank), and B [outputSize, experts rank], whose columns run
    /// (rank, expert), of a parameter; zeros for experts that the adapter does not have, whose update so is nothing.
    ///
    /// - Parameter change: the update of an expert's module; nil for zeros.
    package func packed(
        _ parameter: PackedParameter, _ change: (_ module: String) throws -> LowRankChange?
    ) rethrows -> (a: AdapterTensor, b: AdapterTensor) {
        let first = parameter.experts.values.first ?? ""
        let (rank, size) = (configuration.narrowSize(of: first), size(of: first))
        let (width, rows, count) = (size.input ?? 0, size.output ?? 0, parameter.count)
        var a = [Float](repeating: 0, count: count * rank * width)
        var b = [Float](repeating: 0, count: rows * count * rank)
        for (expert, module) in parameter.experts {
            guard let low = try change(module) else { continue }
            a.replaceSubrange(expert * rank * width..<(expert + 1) * rank * width, with: low.a)
            for row in 0..<rows {
                for column in 0..<rank {
                    b[row * count * rank + column * count + expert] = low.b[row * rank + column]
                }
            }
        }
        return (
            AdapterTensor(PEFTNames.key(parameter.path, PEFTNames.loraA), [count * rank, width], a),
            AdapterTensor(PEFTNames.key(parameter.path, PEFTNames.loraB), [rows, count * rank], b)
        )
    }

    /// The adapter with `updates` in the place of the experts' modules of `parameters`, as an adapter that is only merged
    /// holds them. Throws what putting it together throws.
    package func replacing(
        _ parameters: [PackedParameter], by updates: [MatrixUpdate]
    ) throws(AdapterError) -> AdapterDirectory {
        let packed = NameSet(parameters.flatMap(\.experts.values))
        let kept = modules.filter { !packed.contains($0) }
        let suffixes = configuration.tensorSuffixes
        var extras = extras
        extras.updates += updates
        var result = try AdapterDirectory(
            configuration: configuration, modules: kept,
            tensors: kept.flatMap { module in suffixes.compactMap { tensor(module, $0) } } + sharedTensors
                + savedModules,
            extras: extras, thresholds: thresholds.filter { !packed.contains($0.key) },
            statistics: statistics.map { all in
                AdapterStatistics(source: all.source, modules: all.modules.filter { !packed.contains($0.module) })
            }, origin: origin.ofDerived)
        (result.mapping, result.fileTensorCount) = (mapping, fileTensorCount)
        return result
    }

    /// Every tensor of the file, thresholds too: packed parameters as peft has them, and all else as it is.
    var fileTensors: [AdapterTensor] {
        let parameters = packedParameters
        let packed = NameSet(parameters.flatMap(\.experts.values))
        func threshold(_ path: String, _ values: [Float]) -> AdapterTensor {
            AdapterTensor(PEFTNames.key(path, PEFTNames.tau), [values.count], values)
        }
        let own = modules.filter { !packed.contains($0) }
        let suffixes = configuration.tensorSuffixes
        var all =
            parameters.isEmpty ? tensors : own.flatMap { module in suffixes.compactMap { tensor(module, $0) } }
        for parameter in parameters {
            let (a, b) = self.packed(parameter) { LoRA.lowRankChange(of: $0, in: self) }
            all += [a, b]
        }
        all += sharedTensors + savedModules + extras.tensors
        all += own.compactMap { module in self.threshold(module).map { threshold(module, [$0]) } }
        guard configuration.isGated else { return all }
        return all
            + parameters.map { parameter in
                let values = (0..<parameter.count).map { parameter.experts[$0].flatMap { self.threshold($0) } ?? 0 }
                return threshold(parameter.path, values)
            }
    }
}

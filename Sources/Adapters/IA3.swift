import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterKind {
    /// Infused adapter by inhibiting and amplifying inner activations, arXiv 2205.05638.
    package static let ia3 = AdapterKind("ia3", IA3Settings.self)
}

extension PEFTNames {
    /// IA3's l: [outputSize, 1] where it scales a layer's output, [1, inputSize] where it scales its input.
    package static let ia3L = ".ia3_l"
    /// The field of the modules whose input is scaled.
    fileprivate static let feedforwardField = "feedforward_modules"
}

/// What an IA3 is set to; peft's names in parentheses.
package struct IA3Settings: MethodSettings {
    package static var kind: AdapterKind { .ia3 }
    package static var method: any AdapterMethod.Type { IA3.self }
    package static let peftType = "IA3"
    package static let selectorFields = [PEFTNames.excludedField]
    package static let selectorsInPEFT = [PEFTNames.excludedField]
    /// peft's for Llama and its relatives.
    package static let defaultTargets: [String]? = ["k_proj", "v_proj", feedforwardName]
    private static let feedforwardName = "down_proj"

    /// The modules whose input is scaled in place of the output (`feedforward_modules`). As in peft a name is the end
    /// of a path, whatever stands before it, and an expression is matched against the whole path.
    package var feedforward: TargetSpecification

    /// An IA3 with these modules' inputs scaled, and the others' outputs.
    package init(feedforward: TargetSpecification) { self.feedforward = feedforward }

    package init(reading fields: FieldReader) throws(AdapterError) {
        guard let feedforward = try fields.targets(PEFTNames.feedforwardField, allowsAllLinear: true) else {
            throw .malformed(
                file: fields.file, what: "'\(PEFTNames.feedforwardField)'", expected: "names or an expression",
                found: "null")
        }
        self.init(feedforward: feedforward)
    }

    package static let options = [
        MethodOption(
            PEFTNames.feedforwardField, .text, "modules whose input is scaled, of those that are adapted",
            valueName: "names", initial: feedforwardName)
    ]

    package init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        if let given = try options.string(PEFTNames.feedforwardField) {
            self.init(feedforward: try TargetSpecification(argument: given))
            return
        }
        var names = [Self.feedforwardName]
        if case .names(let targets)? = try options.targets(MethodOption.targetsKey, allowsAllLinear: true) {
            names = targets.filter { $0.hasSuffix(Self.feedforwardName) }
        }
        self.init(feedforward: .names(names))
    }

    package static let fields: [PEFTField] =
        PEFTField.common + PEFTField.understood(PEFTNames.excludedField, PEFTNames.feedforwardField)
        + [.harmless("init_ia3_weights", .bool(true))]

    package var fieldValues: [(name: String, value: JSONValue)] { [(PEFTNames.feedforwardField, feedforward.json)] }

    /// peft takes names of modules that are targets too alone.
    package func check(targets: TargetSpecification) throws(AdapterError) {
        switch feedforward {
        case .names(let names):
            guard case .names(let targets) = targets, let stray = names.first(where: { !targets.contains($0) })
            else { return }
            throw .badSetting(
                name: PEFTNames.feedforwardField, expected: "some of the targets, \(targets.joined(separator: ", "))",
                found: "'\(stray)'")
        case .expression(let pattern): _ = try PathExpression(pattern)
        case .allLinear:
            throw .badSetting(
                name: PEFTNames.feedforwardField, expected: "names or an expression", found: "'all-linear'")
        }
    }

    /// Whether the input of the module at `path` is scaled, and not its output.
    package func scalesInput(_ path: String) -> Bool {
        switch feedforward {
        case .names(let names): names.contains { path.hasSuffix($0) }
        // `check` has compiled it.
        case .expression(let pattern): (try? PathExpression(pattern).matchesWhole(path)) ?? false
        case .allLinear: false
        }
    }

    package var rank: Int? { nil }
    package var dropout: Double { 0 }
    package func scaling(for path: String) -> Float { 1 }

    package func restricted(to kept: NameSet) -> IA3Settings {
        IA3Settings(feedforward: .names(kept.filter(scalesInput).sorted()))
    }

    package func renamed(_ names: [(old: String, new: String)]) -> IA3Settings {
        IA3Settings(feedforward: .names(names.filter { scalesInput($0.old) }.map(\.new)))
    }

    package func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)] {
        let count = adapter.modules.count { scalesInput($0) }
        return [("scales", "outputs of \(adapter.modules.count - count) modules, inputs of \(count)")]
    }

    package func torchSettings(for module: String) -> JSONObject { ["scales_input": .bool(scalesInput(module))] }
}

/// Infused adapter by inhibiting and amplifying inner activations (Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning
/// is Better and Cheaper than In-Context Learning", arXiv 2205.05638): a learned vector l scales a layer's output or, in
/// feed-forward layers, its input,
///
///     M(x) = (l - 1) * (W0 x),  l [outputSize, 1]        M(x) = W0 ((l - 1) * x),  l [1, inputSize]
///
/// A layer's bias is not in M: as DoRA does, we leave it as it is. peft scales it together with the output, so a dense
/// IA3, which peft shares with us, is not computed with where an output with a bias is scaled; a merge scales the bias.
/// M(x) of scaled inputs is a product
/// as wide as the layer for every token, as the gate asks for its size.
package final class IA3: AdapterMethod {
    private let l: AdapterParameter
    fileprivate let scalesInput: Bool
    private let site: AdapterSite
    /// l - 1, F32.
    fileprivate let excess: Tensor
    /// (l - 1)^2, F32.
    fileprivate let squaredExcess: Tensor
    package var collectsGradients = true
    fileprivate var context: ComputeContext { site.context }
    fileprivate var frozen: FrozenLinear { site.frozen }

    package static func tensorRoles(
        _ configuration: AdapterConfiguration, of path: String
    ) -> [AdapterTensorRole] {
        let scalesInput = configuration.own(IA3Settings.self).scalesInput(path)
        return [
            AdapterTensorRole(
                PEFTNames.ia3L, scalesInput ? [.one, .inputSize] : [.outputSize, .one], scalesUpdate: true, origin: 1)
        ]
    }

    /// l of ones.
    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) -> [AdapterTensor] {
        let role = tensorRoles(configuration, of: module.path)[0]
        let shape = role.shape(rank: nil, outputSize: module.outputSize, inputSize: module.inputSize)
        return [
            AdapterTensor(
                PEFTNames.key(module.path, role.suffix), shape, [Float](repeating: 1, count: max(shape[0], shape[1])))
        ]
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        let scalesInput = adapter.configuration.own(IA3Settings.self).scalesInput(module)
        return .scaled(
            ScaledChange(factors: adapter.values(module, PEFTNames.ia3L), axis: scalesInput ? .columns : .rows))
    }

    package static func obstacle(
        at module: LinearModule, _ configuration: AdapterConfiguration
    ) -> String? {
        guard !configuration.isGated, module.hasBias,
            !configuration.own(IA3Settings.self).scalesInput(module.path)
        else { return nil }
        return "it scales the output of a layer with a bias: peft would scale the bias too, which is not supported"
    }

    package static func scalesBias(of module: String, _ configuration: AdapterConfiguration) -> Bool {
        !configuration.isGated && !configuration.own(IA3Settings.self).scalesInput(module)
    }

    package init(_ site: AdapterSite) throws {
        self.site = site
        l = try site.parameter(PEFTNames.ia3L)
        scalesInput = site.configuration.own(IA3Settings.self).scalesInput(site.path)
        excess = site.context.tensor([l.value.count], .f32)
        squaredExcess = site.context.tensor([l.value.count], .f32)
    }

    package var parameters: [AdapterParameter] { [l] }

    package var preparationScratchCount: Int { 0 }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        for index in 0..<excess.count {
            let value = l.value.floats[index] - 1
            excess.floats[index] = value
            squaredExcess.floats[index] = value * value
        }
    }

    package func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate {
        scalesInput
            ? IA3InputUpdate(self, output: output, input: input) : IA3OutputUpdate(self, output: output)
    }

    /// Adds sum_i a_ij b_ij to l's gradient.
    fileprivate func addGradient(_ a: Tensor, _ b: Tensor) {
        let sums = context.columnDots(a, b)
        for index in 0..<sums.count { l.gradient.floats[index] += sums.floats[index] }
        withExtendedLifetime(sums) {}
    }

    /// (l - 1) * x by columns, for `rows` or all.
    fileprivate func scaled(_ x: Tensor, rows: [Int32]? = nil) -> Tensor {
        let source = rows.map { context.gatherRows(x, $0) } ?? x
        let scaled = context.zeros(source.shape, source.dtype)
        context.addScaledColumns(source, excess, to: scaled)
        return scaled
    }
}

extension ActiveTokens {
    /// The rows; nil for all.
    fileprivate var some: [Int32]? { if case .rows(let rows) = self { rows } else { nil } }
}

/// One batch through an `IA3` that scales outputs.
private final class IA3OutputUpdate: AdapterUpdate {
    private let method: IA3
    /// W0 x, without the bias, [tokens, outputSize].
    private let base: Tensor

    private var context: ComputeContext { method.context }

    init(_ method: IA3, output: Tensor) {
        self.method = method
        base = method.context.tensor(output.shape, output.dtype)
        method.context.copy(output, into: base)
        if let bias = method.frozen.bias { method.context.addToRows(bias, of: base, factor: -1) }
    }

    var innerActivations: Tensor? { nil }

    func norms() -> Tensor {
        let norms = context.weightedRowDots(base, base, method.squaredExcess)
        for index in 0..<norms.count { norms.floats[index] = norms.floats[index].squareRoot() }
        return norms
    }

    func apply(to output: Tensor, _ active: ActiveTokens) {
        guard let rows = active.some else { return context.addScaledColumns(base, method.excess, to: output) }
        if rows.isEmpty { return }
        context.scatterAddRows(method.scaled(base, rows: rows), rows, to: output)
    }

    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor? {
        let mu = wantsMu ? context.weightedRowDots(gradient, base, method.excess) : nil
        let rows = active.some
        if rows?.isEmpty == true { return mu }
        if method.collectsGradients {
            method.addGradient(
                rows.map { context.gatherRows(gradient, $0) } ?? gradient,
                rows.map { context.gatherRows(base, $0) } ?? base)
        }
        // What is left is (l - 1) W0 x.
        context.scaleColumns(of: gradient, rows: rows, by: method.excess)
        return mu
    }
}

/// One batch through an `IA3` that scales inputs.
private final class IA3InputUpdate: AdapterUpdate {
    private let method: IA3
    /// M(x).
    private let whole: WholeUpdate

    private var context: ComputeContext { method.context }

    init(_ method: IA3, output: Tensor, input: Tensor) {
        self.method = method
        let whole = method.context.tensor(output.shape, output.dtype)
        method.frozen.matrix.multiply(method.scaled(input), bias: nil, into: whole, method.context.products)
        self.whole = WholeUpdate(whole, method.context)
    }

    var innerActivations: Tensor? { nil }

    func norms() -> Tensor { whole.norms() }

    func apply(to output: Tensor, _ active: ActiveTokens) { whole.apply(to: output, active) }

    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor? {
        let x = input.value
        // v = W0' dl/dh for every token: mu = <(l - 1) x, v>, and of active tokens x v is dl/dl and (l - 1) v in dl/dx.
        let v = context.tensor(x.shape, x.dtype)
        method.frozen.matrix.multiplyTransposed(gradient, into: v, accumulates: false, context.products)
        let mu = wantsMu ? context.weightedRowDots(x, v, method.excess) : nil
        let rows = active.some
        if rows?.isEmpty == true { return mu }
        if method.collectsGradients {
            method.addGradient(rows.map { context.gatherRows(x, $0) } ?? x, rows.map { context.gatherRows(v, $0) } ?? v)
        }
        if input.needsGradient {
            let part = method.scaled(v, rows: rows)
            input.addGradient(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                if let rows { context.scatterAddRows(part, rows, to: dx) } else { context.addRows(part, to: dx) }
            }
        }
        return mu
    }
}

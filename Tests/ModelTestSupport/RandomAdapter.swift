import Adapters
import Compute
import Models
import TensorCore
import TestSupport

/// Makes an adapter of any kind with random numbers in every trained tensor, so that each of them matters.
///
/// - Parameters:
///   - spread: what is added to each number of a new adapter lies in +-spread.
///   - saved: the tensors of layers that are trained whole.
///   - tau: every gate's threshold; an adapter with one has gates.
package func randomAdapter(
    _ configuration: AdapterConfiguration, on base: ModelCheckpoint, spread: Float = 0.2, tau: Float? = nil,
    seed: UInt64 = 11, saved: [AdapterTensor] = []
) throws -> AdapterDirectory {
    var configuration = configuration
    configuration.isGated = tau != nil
    configuration.expertCounts = base.expertCounts(for: configuration)
    let modules = try configuration.match(base.modules(for: configuration)).modules
    let stream = RandomStream(seed: seed)
    let shared = Set(configuration.kind.method.sharedRoles.map(\.suffix))
    let tensors = try configuration.initialTensors(modules, stream) { module in
        try base.floats(CheckpointNames.weight(of: module.path))
    }.map { tensor -> AdapterTensor in
        if shared.contains(tensor.name) { return tensor }
        let noise = randomValues(
            tensor.values.count, seed: stream.forked(tensor.name).key, in: -spread...spread)
        return AdapterTensor(tensor.name, tensor.shape, zip(tensor.values, noise).map(+))
    }
    return try AdapterDirectory(
        configuration: configuration, modules: modules.map(\.path), tensors: tensors + saved,
        thresholds: tau.map { tau in NameTable(uniqueKeysWithValues: modules.map { ($0.path, tau) }) } ?? [:])
}

extension AdapterDirectory {
    /// The same adapter with other statistics.
    package func with(_ statistics: [ModuleStatistics]) -> AdapterDirectory {
        var copy = self
        copy.statistics = AdapterStatistics(source: "dev.json", modules: statistics)
        return copy
    }
}

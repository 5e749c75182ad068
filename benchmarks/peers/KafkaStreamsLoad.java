import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;

/**
 * Loads a topic into a store of Kafka Streams: a GlobalKTable ("global") or a KTable ("table"), in RocksDB.
 *
 * <p>Arguments: bootstrap, topic, records, global or table. Values stay bytes. A GlobalKTable is there when it runs: it
 * restores up to the end offsets first. A KTable runs before it has read anything, so it is asked how many records it has
 * processed. The store is verified after the time was taken.
 */
public final class KafkaStreamsLoad {
    private static final String STORE = "latest";
    private static final Pattern AMOUNT = Pattern.compile("\"amount\":([0-9.]+)");

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String topic = arguments[1];
        long records = Long.parseLong(arguments[2]);
        boolean isGlobal = arguments[3].equals("global");

        StreamsBuilder builder = new StreamsBuilder();
        Consumed<byte[], byte[]> consumed = Consumed.with(Serdes.ByteArray(), Serdes.ByteArray());
        Materialized<byte[], byte[], KeyValueStore<Bytes, byte[]>> store = Materialized.as(STORE);
        if (isGlobal) {
            builder.globalTable(topic, consumed, store);
        } else {
            builder.table(topic, consumed, store);
        }
        Properties settings = settings(bootstrap);

        System.out.println("@begin");
        // The harness looks up what this process took so far, and answers.
        System.in.read();
        long begun = System.nanoTime();
        KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
        CountDownLatch isRunning = new CountDownLatch(1);
        streams.setStateListener((state, before) -> {
            if (state == KafkaStreams.State.RUNNING) {
                isRunning.countDown();
            }
        });
        streams.start();
        isRunning.await();
        while (!isGlobal && processed(streams) < records) {
            Thread.sleep(5);
        }
        System.out.println("@end " + (System.nanoTime() - begun) / 1e9);
        System.in.read();
        verify(streams);
        // The harness ends what is still running.
        Thread.sleep(60_000);
    }

    private static Properties settings(String bootstrap) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-" + System.nanoTime());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, "state");
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put("auto.offset.reset", "earliest");
        // Without this a KTable writes a changelog topic of its own: everything a second time.
        settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        for (String consumer : new String[] {"main.consumer.", "global.consumer.", "restore.consumer."}) {
            settings.put(consumer + "max.poll.records", 10_000);
            settings.put(consumer + "max.partition.fetch.bytes", 8 * 1024 * 1024);
        }
        return settings;
    }

    private static double processed(KafkaStreams streams) {
        return streams.metrics().entrySet().stream()
            .filter(each -> each.getKey().name().equals("process-total"))
            .filter(each -> each.getKey().group().equals("stream-thread-metrics"))
            .map(Map.Entry::getValue)
            .map(Metric::metricValue)
            .mapToDouble(value -> (double) value)
            .sum();
    }

    private static void verify(KafkaStreams streams) {
        ReadOnlyKeyValueStore<byte[], byte[]> store = streams.store(
            StoreQueryParameters.fromNameAndType(STORE, QueryableStoreTypes.keyValueStore()));
        long keys = 0;
        long cents = 0;
        try (KeyValueIterator<byte[], byte[]> all = store.all()) {
            while (all.hasNext()) {
                KeyValue<byte[], byte[]> row = all.next();
                Matcher amount = AMOUNT.matcher(new String(row.value, java.nio.charset.StandardCharsets.UTF_8));
                amount.find();
                keys++;
                cents += Math.round(Double.parseDouble(amount.group(1)) * 100);
            }
        }
        System.out.println("@result {\"keys\": " + keys + ", \"cents\": " + cents + "}");
    }
}

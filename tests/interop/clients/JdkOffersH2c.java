import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** The JDK's client as it comes: over plain HTTP its first request offers to go on by HTTP/2. */
public class JdkOffersH2c {
    /** Arguments: the address of an endpoint, and the files of the bodies to post there. */
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI endpoint = URI.create(arguments[0]);
        for (int index = 1; index < arguments.length; index++) {
            HttpRequest request = HttpRequest.newBuilder(endpoint)
                .header("Content-Type", "text/xml; charset=utf-8")
                .POST(HttpRequest.BodyPublishers.ofFile(java.nio.file.Path.of(arguments[index])))
                .build();
            show(client.send(request, HttpResponse.BodyHandlers.ofString()));
        }
        HttpRequest wsdl = HttpRequest.newBuilder(URI.create(arguments[0] + "?wsdl")).build();
        show(client.send(wsdl, HttpResponse.BodyHandlers.ofString()));
    }

    private static void show(HttpResponse<String> response) {
        String outcome = response.headers().firstValue("X-UMD-Outcome").orElse("-");
        String start = response.body().contains("definitions") ? "wsdl" : "soap";
        System.out.println(response.version() + " " + response.statusCode() + " " + outcome + " " + start);
    }
}
